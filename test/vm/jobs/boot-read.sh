# The next boot from the same export finds all of it.
step read
(cd /srv/kept && sha256sum --quiet -c /srv/sums) || fail 'something is lost'
wc -l </srv/sums
