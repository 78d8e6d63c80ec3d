/** The demo: the main job on a real file system; not there yet. */
console.error('The demo needs `ferry backup`, which is being built.');
