package main_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// A command has the file of its name, and those whose names begin with it. What
// it calls is in them, in a file of no command, or in the file of the command it belongs to (key.go
// for keylist.go). command.go puts all commands together.
func TestCommandsDoNotCallEachOther(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]*ast.File{}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files[strings.TrimSuffix(path, ".go")] = file
	}
	commands := map[string]bool{}
	declared := map[string]string{} // the file of each name
	for name, file := range files {
		for _, object := range file.Scope.Objects {
			declared[object.Name] = name
			if command, ok := strings.CutSuffix(object.Name, "Command"); ok && object.Kind == ast.Fun && strings.ToLower(command) == name {
				commands[name] = true
			}
		}
	}
	if len(commands) < 15 {
		t.Errorf("only these commands have a file of their name: %v", commands)
	}
	owner := func(file string) (command string) {
		for c := range commands {
			if strings.HasPrefix(file, c) && len(c) > len(command) {
				command = c
			}
		}
		return command
	}
	for name, file := range files {
		if name == "command" {
			continue
		}
		ast.Inspect(file, func(n ast.Node) bool {
			used, ok := n.(*ast.Ident)
			if !ok || file.Scope.Lookup(used.Name) != nil || used.Obj != nil {
				return true
			}
			theirs, ours := owner(declared[used.Name]), owner(name)
			belongs := strings.HasPrefix(ours, theirs) || strings.HasSuffix(used.Name, "Command") && strings.HasPrefix(theirs, ours)
			if declared[used.Name] != "" && !belongs {
				t.Errorf("%s.go uses %s of %s.go: give it a home that is no command's", name, used.Name, declared[used.Name])
			}
			return true
		})
	}
}
