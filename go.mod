module github.com/overlaydiff/overlaydiff

go 1.26.0
