// Package report writes what an overlay changed as one page of HTML that needs no
// network: where the bytes are, what is biggest, what is waste, the chain of layers,
// and what two overlays have in common.
//
// A page is small whatever the overlay is: what is below the size of its biggest
// entries is added up, and the page says so.
package report
