//go:build race

package torture_test

// raceDetector is whether the tests are built with it.
const raceDetector = true
