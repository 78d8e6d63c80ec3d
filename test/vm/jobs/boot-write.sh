# On a root disk that is an export: writes of several kinds, kept for the next boot.
findmnt -n -o SOURCE / | grep -q /dev/vda || fail 'the root is another disk'
mkdir -p /srv/kept
step write
for number in 1 2 3; do
  dd if=/dev/urandom of=/srv/kept/file-$number bs=64k count=100 status=none &
done
wait
dd if=/dev/urandom of=/srv/kept/direct bs=4k count=256 oflag=direct status=none
cp -r /usr/bin /srv/kept/bin
(cd /srv/kept && find . -type f ! -name sums -print0 | xargs -0 sha256sum) >/srv/sums
step trim
rm -r /srv/kept/bin
sed -i '\|  ./bin/|d' /srv/sums
fstrim -v / | grep -q trimmed || fail fstrim
sync
