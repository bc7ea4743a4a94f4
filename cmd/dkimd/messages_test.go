package main_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// messages are all that the sources of dkimd hold; tests and programs beside it say nothing to an operator.
func messages(t *testing.T, root string) []message {
	t.Helper()
	x := &extraction{t: t, files: token.NewFileSet(), root: root, constants: map[string]string{}}
	var files []*ast.File
	for _, dir := range []string{"cmd", "internal", "keys", "policy", "signer", "verifier"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case entry.IsDir() && (strings.HasSuffix(path, "test") || entry.Name() == "client" || entry.Name() == "conformance" || entry.Name() == "testdata"):
				return filepath.SkipDir
			case entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
				return nil
			}
			file, err := parser.ParseFile(x.files, path, nil, 0)
			files = append(files, file)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range files {
		x.readConstants(file)
	}
	for _, file := range files {
		x.readFile(file)
	}
	return x.found
}

type extraction struct {
	t         *testing.T
	files     *token.FileSet
	root      string
	constants map[string]string // of all packages, by package and name
	found     []message
}

func (x *extraction) where(n ast.Node) string {
	at := x.files.Position(n.Pos())
	path, err := filepath.Rel(x.root, at.Filename)
	if err != nil {
		x.t.Fatal(err)
	}
	return filepath.ToSlash(path) + ":" + strconv.Itoa(at.Line)
}

func (x *extraction) add(kind, text string, n ast.Node) {
	m := message{kind, text, x.where(n)}
	if text != "" && text != "..." && !slices.ContainsFunc(x.found, func(o message) bool { return o.text == text && o.section() == m.section() }) {
		x.found = append(x.found, m)
	}
}

func (x *extraction) readConstants(file *ast.File) {
	for _, decl := range file.Decls {
		g, ok := decl.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		for _, spec := range g.Specs {
			v, ok := spec.(*ast.ValueSpec)
			for i := 0; ok && i < len(v.Names) && i < len(v.Values); i++ {
				if text, literal := literalOf(v.Values[i]); literal {
					x.constants[file.Name.Name+"."+v.Names[i].Name] = text
					if file.Name.Name == "policy" && strings.HasPrefix(text, "(") {
						x.add(reason, text, v)
					}
				}
			}
		}
	}
}

func (x *extraction) readFile(file *ast.File) {
	for _, decl := range file.Decls {
		switch d := decl.(type) {
		case *ast.GenDecl:
			if d.Tok == token.VAR {
				x.sentinels(d)
			}
		case *ast.FuncDecl:
			x.returned(d)
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			x.call(file.Name.Name, n)
		case *ast.AssignStmt:
			x.reply(n.Rhs)
		case *ast.CompositeLit:
			x.composite(file.Name.Name, n)
		}
		return true
	})
}

// sentinels are variables that errors.New makes.
func (x *extraction) sentinels(d *ast.GenDecl) {
	for _, spec := range d.Specs {
		v, ok := spec.(*ast.ValueSpec)
		for i := 0; ok && i < len(v.Values); i++ {
			if call, made := v.Values[i].(*ast.CallExpr); made && nameOf(call.Fun) == "errors.New" && v.Names[i].Name != "errQuiet" {
				x.add(reason, textOf(call.Args[0]), v)
			}
		}
	}
}

// returned is what a function returns as its result named why, and what a method warnings says.
func (x *extraction) returned(d *ast.FuncDecl) {
	index, at := 0, -1
	if d.Type.Results == nil || d.Body == nil {
		return
	}
	if d.Name.Name == "warnings" {
		ast.Inspect(d.Body, func(n ast.Node) bool {
			if e, ok := n.(ast.Expr); ok {
				text, _ := literalOf(e)
				x.add(warning, text, n)
			}
			return true
		})
	}
	for _, field := range d.Type.Results.List {
		for _, name := range field.Names {
			if name.Name == "why" {
				at = index
			}
			index++
		}
	}
	if at < 0 {
		return
	}
	ast.Inspect(d.Body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ReturnStmt:
			if at < len(n.Results) {
				x.add(reason, textOf(n.Results[at]), n)
			}
		case *ast.AssignStmt:
			if nameOf(n.Lhs[0]) == "why" && n.Tok == token.ASSIGN {
				x.add(reason, textOf(n.Rhs[0]), n)
			}
		}
		return true
	})
}

func (x *extraction) call(pkg string, call *ast.CallExpr) {
	for i, arg := range call.Args[:max(len(call.Args)-1, 0)] {
		text, literal := x.constant(pkg, call.Args[i+1])
		switch level := nameOf(arg); {
		case strings.HasPrefix(level, "slog.Level"):
			x.logLine(text, literal, call)
		case level == "level" && literal:
			x.add(logLine, text, call)
		}
	}
	if nameOf(call.Fun) == "append" && strings.HasSuffix(nameOf(call.Args[0]), ".Warnings") && !call.Ellipsis.IsValid() {
		x.add(warning, textOf(call.Args[1]), call)
	}
	method, ok := call.Fun.(*ast.SelectorExpr)
	switch {
	case nameOf(call.Fun) == "because" && len(call.Args) > 1:
		x.add(reason, verb.ReplaceAllString(textOf(call.Args[1]), "..."), call)
	case !ok || len(call.Args) == 0:
	case slices.Contains([]string{"Debug", "Info", "Warn", "Error"}, method.Sel.Name):
		text, literal := x.constant(pkg, call.Args[0])
		x.logLine(text, literal, call)
	}
}

func (x *extraction) logLine(text string, constant bool, n ast.Node) {
	if !constant {
		x.t.Errorf("%s: the text of a log line is no constant: docs/troubleshooting.md could not explain it", x.where(n))
	}
	x.add(logLine, text, n)
}

// constant is the value of a literal, or of a constant of the package.
func (x *extraction) constant(pkg string, e ast.Expr) (string, bool) {
	if text, ok := literalOf(e); ok {
		return text, true
	}
	text, ok := x.constants[pkg+"."+nameOf(e)]
	return text, ok
}

var (
	verb     = regexp.MustCompile(`%[a-z]`)
	code     = regexp.MustCompile(`^[45]\d\d$`)
	enhanced = regexp.MustCompile(`^[45]\.\d+\.\d+$`)
)

// reply finds code, enhanced code and text.
func (x *extraction) reply(exprs []ast.Expr) {
	if len(exprs) != 3 || !enhanced.MatchString(textOf(exprs[1])) {
		return
	}
	if number, ok := exprs[0].(*ast.BasicLit); ok && code.MatchString(number.Value) {
		x.add(reply, number.Value+" "+textOf(exprs[1])+" "+textOf(exprs[2]), exprs[0])
	}
}

func (x *extraction) composite(pkg string, lit *ast.CompositeLit) {
	values := slices.Clone(lit.Elts)
	for i, v := range values {
		if pair, ok := v.(*ast.KeyValueExpr); ok {
			values[i] = pair.Value
		}
	}
	x.reply(values)
	if name := nameOf(lit.Type); name != "Reason" && name != "signer.Reason" || len(values) != 2 {
		return
	}
	code := nameOf(values[0])
	if !strings.Contains(code, ".") {
		code = pkg + "." + code
	}
	x.add(reason, x.constants[code], lit)
}

// textOf is a text with ... for what is filled in.
func textOf(e ast.Expr) string {
	if text, ok := literalOf(e); ok {
		return text
	}
	if sum, ok := e.(*ast.BinaryExpr); ok && sum.Op == token.ADD {
		return strings.ReplaceAll(textOf(sum.X)+textOf(sum.Y), "......", "...")
	}
	return "..."
}

func literalOf(e ast.Expr) (string, bool) {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	text, err := strconv.Unquote(lit.Value)
	return text, err == nil
}

// nameOf is a name as it is written: errors.New, level.
func nameOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return nameOf(e.X) + "." + e.Sel.Name
	}
	return ""
}
