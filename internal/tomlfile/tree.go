package tomlfile

import (
	"bytes"
	"strconv"

	"github.com/pelletier/go-toml/v2/unstable"
)

// build makes the tables of a document that go-toml has found valid: no key is
// there twice, and no key is both a table and something else.
func build(file *File, data []byte) *Table {
	b := &builder{file: file, data: data}
	root := b.table("", min(1, len(data)))
	current := root
	p := unstable.Parser{}
	p.Reset(data)
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind { //nolint:exhaustive // an expression is nothing else
		case unstable.KeyValue:
			b.set(current, e)
		case unstable.Table:
			current = b.descend(root, e.Key(), false)
		case unstable.ArrayTable:
			current = b.descend(root, e.Key(), true)
		default:
		}
	}
	return root
}

type builder struct {
	file *File
	data []byte
	// Nodes come in the order of the file, so lines are counted once.
	offset, line int
}

func (b *builder) table(path string, line int) *Table {
	t := empty(b.file.path).root
	t.file, t.path, t.line = b.file, path, line
	return t
}

// lineAt is the line of an offset, 1 being the first.
func (b *builder) lineAt(offset int) int {
	if offset < b.offset {
		b.offset, b.line = 0, 0
	}
	b.line += bytes.Count(b.data[b.offset:offset], []byte("\n"))
	b.offset = offset
	return b.line + 1
}

// descend walks a [header]'s key from the root, making the tables that are missing.
func (b *builder) descend(t *Table, key unstable.Iterator, array bool) *Table {
	for key.Next() {
		name := string(key.Node().Data)
		line := b.lineAt(int(key.Node().Raw.Offset))
		if array && key.IsLast() {
			return b.element(t, name, line)
		}
		t = b.sub(t, name, line)
		if key.IsLast() {
			t.line = line
		}
	}
	return t
}

// sub is the table of that name in t; in an array of tables it is the last one.
func (b *builder) sub(t *Table, name string, line int) *Table {
	v := t.entries[name]
	switch {
	case v == nil:
		v = &value{kind: kindTable, line: line, table: b.table(t.KeyPath(name), line)}
		t.entries[name] = v
	case v.kind == kindList && len(v.items) > 0:
		return v.items[len(v.items)-1].table
	}
	return v.table
}

// element appends one table to the array of tables of that name.
func (b *builder) element(t *Table, name string, line int) *Table {
	v := t.entries[name]
	if v == nil {
		v = &value{kind: kindList, line: line}
		t.entries[name] = v
	}
	path := t.KeyPath(name) + "[" + strconv.Itoa(len(v.items)+1) + "]"
	item := &value{kind: kindTable, line: line, table: b.table(path, line)}
	v.items = append(v.items, item)
	return item.table
}

// set stores key = value, where the key may be dotted.
func (b *builder) set(t *Table, e *unstable.Node) {
	for key := e.Key(); key.Next(); {
		name := string(key.Node().Data)
		line := b.lineAt(int(key.Node().Raw.Offset))
		if key.IsLast() {
			t.entries[name] = b.value(t.KeyPath(name), line, e.Value())
			return
		}
		t = b.sub(t, name, line)
	}
}

// value reads one value; line is the one of its key or list, used where a node carries no position.
func (b *builder) value(path string, line int, n *unstable.Node) *value {
	if n.Raw.Length > 0 {
		line = b.lineAt(int(n.Raw.Offset))
	}
	v := &value{line: line, text: string(n.Data)}
	switch n.Kind { //nolint:exhaustive // what is left is a date or a time
	case unstable.String:
		v.kind = kindString
	case unstable.Bool:
		v.kind = kindBool
	case unstable.Integer:
		v.kind = kindInteger
	case unstable.Float:
		v.kind = kindFloat
	case unstable.Array:
		v.kind, v.text = kindList, ""
		for it := n.Children(); it.Next(); {
			if it.Node().Kind == unstable.Comment {
				continue
			}
			item := b.value(path+"["+strconv.Itoa(len(v.items)+1)+"]", line, it.Node())
			v.items = append(v.items, item)
		}
	case unstable.InlineTable:
		v.kind, v.text = kindTable, ""
		v.table = b.table(path, line)
		for it := n.Children(); it.Next(); {
			if it.Node().Kind == unstable.KeyValue {
				b.set(v.table, it.Node())
			}
		}
	default: // dates and times
		v.kind = kindDate
	}
	return v
}
