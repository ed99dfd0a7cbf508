package sys

// XFSID is for the tests that import testenv, which imports this package.
var XFSID = xfsID
