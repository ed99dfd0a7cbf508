// Package oddtar makes tar archives that are well-formed and odd: headers as several
// programs write them, numbers in every encoding, names, times and attributes in every
// place that a format has for them, sparse files in every format, and links in every
// order. The same seed gives the same archive.
//
// It writes bytes by itself, from the formats' descriptions (POSIX, pax; GNU tar's
// manual, "Basic Tar Format" and "Sparse Formats"; star(5); tar(5) of libarchive), so
// that it shares no mistake with what reads them.
package oddtar
