package conformance

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
)

// Source is a source tree, in which anchors and tests are looked for. It reads
// each file once.
type Source struct {
	root  fs.FS
	files map[string]*file
}

type file struct {
	text  string
	decls map[string]span     // functions as F or T.F, types by name
	words map[string]struct{} // all string literals
}

type span struct{ from, to int }

// NewSource is the tree below a directory.
func NewSource(dir string) *Source { return &Source{root: os.DirFS(dir), files: map[string]*file{}} }

// Check says what is wrong with a demand: nothing that obeys it, no test, or one
// that is not there.
func (s *Source) Check(d Demand, divergences string) error {
	var faults []error
	fault := func(err error) {
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", d.Name(), err))
		}
	}
	switch {
	case d.Departs != "":
		if !strings.Contains(divergences, d.Departs) {
			fault(fmt.Errorf("docs/divergences.md has no %q", d.Departs))
		}
	case d.Void != "":
	case len(d.Code) == 0 || len(d.Tests) == 0:
		fault(errors.New("wants a line that obeys and a test that would fail"))
	}
	for _, a := range d.Code {
		_, err := s.Place(a)
		fault(err)
	}
	for _, t := range d.Tests {
		fault(s.checkTest(t))
	}
	return errors.Join(faults...)
}

// Place is where in its file the text of an anchor stands.
func (s *Source) Place(a Anchor) (int, error) {
	f, err := s.file(a.File)
	if err != nil {
		return 0, err
	}
	decl, ok := f.decls[a.Decl]
	if !ok {
		return 0, fmt.Errorf("%s declares no %s", a.File, a.Decl)
	}
	if n := strings.Count(f.text[decl.from:decl.to], a.Text); a.Text != "" && n != 1 {
		return 0, fmt.Errorf("%s: %s holds %d times %q, want once", a.File, a.Decl, n, a.Text)
	}
	return decl.from + strings.Index(f.text[decl.from:decl.to], a.Text), nil
}

// Broken is the text of an anchor's file with the anchor broken.
func (s *Source) Broken(a Anchor) (string, error) {
	at, err := s.Place(a)
	if err != nil {
		return "", err
	}
	text := s.files[a.File].text
	return text[:at] + a.Broken + text[at+len(a.Text):], nil
}

// checkTest looks for the test and, in the file that has it, for the name of its case:
// as a string, or as a file of testdata.
func (s *Source) checkTest(t Test) error {
	entries, err := fs.ReadDir(s.root, t.Package)
	if err != nil {
		return fmt.Errorf("test %s %s: %w", t.Package, t.Name, err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		f, err := s.file(path.Join(t.Package, e.Name()))
		if err != nil {
			return err
		}
		if _, ok := f.decls[t.Name]; !ok {
			continue
		}
		if _, ok := f.words[t.Case]; ok || t.Case == "" || s.hasFixture(t) {
			return nil
		}
		return fmt.Errorf("%s in %s has no case %q", t.Name, t.Package, t.Case)
	}
	return fmt.Errorf("no test %s in %s", t.Name, t.Package)
}

func (s *Source) hasFixture(t Test) bool {
	for _, dir := range []string{"testdata", "testdata/*"} {
		if found, err := fs.Glob(s.root, path.Join(t.Package, dir, t.Case+".*")); err == nil && len(found) > 0 {
			return true
		}
	}
	return false
}

func (s *Source) file(name string) (*file, error) {
	if f := s.files[name]; f != nil {
		return f, nil
	}
	text, err := fs.ReadFile(s.root, name)
	if err != nil {
		return nil, err
	}
	set := token.NewFileSet()
	tree, err := parser.ParseFile(set, name, text, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	f := &file{text: string(text), decls: map[string]span{}, words: map[string]struct{}{}}
	place := func(n ast.Node) span { return span{set.Position(n.Pos()).Offset, set.Position(n.End()).Offset} }
	ast.Inspect(tree, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			f.decls[receiver(n)+n.Name.Name] = place(n)
		case *ast.TypeSpec:
			f.decls[n.Name.Name] = place(n)
		case *ast.ValueSpec:
			f.decls[n.Names[0].Name] = place(n)
		case *ast.BasicLit:
			if word, err := strconv.Unquote(n.Value); err == nil {
				f.words[word] = struct{}{}
			}
		}
		return true
	})
	s.files[name] = f
	return f, nil
}

// receiver is "T." for a method of T.
func receiver(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return ""
	}
	kind := f.Recv.List[0].Type
	if star, ok := kind.(*ast.StarExpr); ok {
		kind = star.X
	}
	if name, ok := kind.(*ast.Ident); ok {
		return name.Name + "."
	}
	return ""
}
