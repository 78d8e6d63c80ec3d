# The next boot from the same export finds all of it.
step read
(cd /root/kept && sha256sum --quiet -c /root/sums) || fail 'something is lost'
wc -l </root/sums
