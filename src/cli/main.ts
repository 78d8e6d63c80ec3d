/** Where `ferry` starts. */
process.stdout.write('ferry\n');
