package main

// unexpected complains of tests that are left out without a known reason.
func unexpected(*Result) []string { return nil }
