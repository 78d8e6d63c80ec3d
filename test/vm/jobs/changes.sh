# Days of work on a disk of its own; at the end of each it is frozen, and the host looks at it.
disk=/dev/$(grep -l ferry-data /sys/block/vd*/serial | cut -d/ -f4)
[ -b "$disk" ] || fail 'there is no data disk'
stty -F /dev/ttyS1 raw -echo
exec 3<>/dev/ttyS1
node=/app/node_modules/node/bin/node
end() {
  fsfreeze -f /data
  echo "day $1" >&3
  read -r answer <&3
  [ "$answer" = go ] || fail "the host said $answer"
  fsfreeze -u /data
}
database() { $node --no-warnings -e "
  const { DatabaseSync } = require('node:sqlite');
  const db = new DatabaseSync('/data/shop.db');
  $1
  db.close();"; }

mkdir -p /data
mount "$disk" /data
step files and a database
cp -a /usr/share /data/
database "
  db.exec('create table orders (id integer primary key, customer text, amount real, note text)');
  const add = db.prepare('insert into orders values (?, ?, ?, ?)');
  db.exec('begin');
  for (let id = 0; id < 8000; id++) add.run(id, 'customer ' + id % 977, id * 1.25, 'x'.repeat(id % 200));
  db.exec('commit');"
end 0

step packages
mkdir -p /data/system/var/lib/dpkg/info /data/system/var/lib/dpkg/updates
: >/data/system/var/lib/dpkg/status
package() { # package NAME VERSION FOLDER
  rm -rf /tmp/package
  mkdir -p /tmp/package/DEBIAN /tmp/package/opt/$1
  cp -a "$3" /tmp/package/opt/$1/
  echo "$2" >/tmp/package/opt/$1/version
  printf 'Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: n <n@example.org>\nDescription: n\n' $1 $2 \
    >/tmp/package/DEBIAN/control
  dpkg-deb -Znone -b /tmp/package /tmp/$1-$2.deb >/dev/null
  dpkg --root=/data/system -i /tmp/$1-$2.deb >/dev/null
}
package tools 1.0 /usr/sbin
package perl 1.0 /usr/lib/x86_64-linux-gnu/perl-base
package tools 1.1 /usr/sbin
dpkg --root=/data/system -r perl >/dev/null
end 1

step database
database "
  const change = db.prepare('update orders set amount = amount + 1 where id = ?');
  for (let n = 0; n < 300; n++) change.run((n * 7919) % 8000);
  db.exec('begin');
  const add = db.prepare('insert into orders values (?, ?, ?, ?)');
  for (let id = 8000; id < 8500; id++) add.run(id, 'customer ' + id % 977, id * 1.25, 'new');
  db.exec('commit');"
end 2

step deletes and trim
rm -r /data/share /data/system/opt
cp -a /usr/sbin /data/later
sync
fstrim /data
end 3
umount /data
