package main

import (
	"context"
	"errors"
)

func document(context.Context, options) error { return errors.New("not written yet") }
