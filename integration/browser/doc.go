// Package browser tests the pages that overlaydiff report writes, in Chromium. It is
// a module of its own, so that what drives the browser is nobody else's business;
// integration/browser.sh runs it.
package browser
