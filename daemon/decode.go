package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
)

// Problem is one thing wrong with the configuration.
type Problem struct {
	// Where is file:line:column, or the flag it comes from.
	Where string
	// What says what is wrong and what to do.
	What string
}

// ConfigErrors are all that is wrong with a configuration, in the order of the
// file.
type ConfigErrors []Problem

// Error returns a line for each problem.
func (p ConfigErrors) Error() string {
	lines := make([]string, len(p))
	for i, q := range p {
		lines[i] = q.Where + ": " + q.What
	}
	return strings.Join(lines, "\n")
}

// Is reports whether target is [ErrUsage] and a flag is among what is wrong.
func (p ConfigErrors) Is(target error) bool {
	return target == ErrUsage && slices.ContainsFunc(p, func(q Problem) bool { return strings.HasPrefix(q.Where, "--") })
}

// position is where in the file something stands, both counted from 1.
type position struct{ line, column int }

// decoder reads a YAML tree into structs: strictly, and on past an error, so
// that one run reports all there are. Fields are found by their yaml tags.
type decoder struct {
	file     string
	problems []located
	at       map[string]position // of each value, by its path, such as routes[0].upstream
	wrong    map[string]extent   // of each path that was not read, how much of it
}

// extent is how much of what stands at a path is wrong.
type extent int

const (
	someOfIt extent = iota + 1 // the rest of it was read
	allOfIt
)

type located struct {
	position

	what string
}

// defaulted is a list's or map's element whose zero value is not its default.
type defaulted interface{ defaults() }

// worded is a struct that may also be written as one word.
type worded interface{ word(text string) error }

// maxFile bounds the configuration: a larger one is another file.
const maxFile = 1 << 20

// decode reads text into v, a pointer to a struct that holds the defaults.
func (d *decoder) decode(text []byte, v any) {
	d.at, d.wrong = make(map[string]position), map[string]extent{"": allOfIt}
	if len(text) > maxFile {
		d.reportf(position{1, 1}, "the file is over %d bytes, more than any configuration", maxFile)
		return
	}
	text = bytes.TrimPrefix(text, []byte("\ufeff")) // a byte order mark (YAML 1.2 §5.2)
	if at, deep := nested(text); deep {
		d.reportf(at, "this is nested deeper than any configuration")
		return
	}
	file, err := parse(text)
	if err != nil {
		d.syntax(err)
		return
	}
	seen := false
	delete(d.wrong, "")
	for _, doc := range file.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.DirectiveType {
			continue
		}
		if seen {
			d.reportf(where(doc.Body), "there is a second document; the configuration is one")
			return
		}
		seen = true
		d.value("", doc.Body, reflect.ValueOf(v).Elem())
	}
}

func (d *decoder) syntax(err error) {
	at, what := position{1, 1}, err.Error()
	if e, ok := errors.AsType[yaml.Error](err); ok {
		what = e.GetMessage()
		if t := e.GetToken(); t != nil && t.Position != nil {
			at = position{t.Position.Line, t.Position.Column}
		}
	}
	d.reportf(at, "%s", what)
}

func (d *decoder) reportf(at position, format string, args ...any) {
	d.problems = append(d.problems, located{at, fmt.Sprintf(format, args...)})
}

// failf reports what is wrong with how much of what stands at path.
func (d *decoder) failf(path string, how extent, at position, format string, args ...any) {
	d.wrong[path] = max(d.wrong[path], how)
	d.reportf(at, format, args...)
}

// sound reports whether the value at path was read: what follows from one that
// was not is no news.
func (d *decoder) sound(path string) bool {
	if d.wrong[path] != 0 {
		return false
	}
	for path != "" {
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
		if d.wrong[path] == allOfIt {
			return false
		}
	}
	return true
}

// value reads n, which stands at path, into v.
func (d *decoder) value(path string, n ast.Node, v reflect.Value) {
	n = rejoin(n)
	at := where(n)
	d.at[path] = at
	switch n.(type) {
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode, *ast.MergeKeyNode:
		d.failf(path, allOfIt, at, "anchors, aliases and tags are not read; write the value itself")
		return
	}
	text, isScalar := scalarText(n)
	if p, ok := reflect.TypeAssert[interface{ beside(folder string) }](v.Addr()); ok {
		p.beside(filepath.Dir(d.file))
	}
	if s, ok := reflect.TypeAssert[scalar](v.Addr()); ok {
		d.scalar(path, at, text, isScalar, s.parse)
		return
	}
	if w, ok := reflect.TypeAssert[worded](v.Addr()); ok && isScalar {
		d.scalar(path, at, text, isScalar, w.word)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.structure(path, n, v)
	case reflect.Map:
		d.mapping(path, n, v)
	case reflect.Slice:
		d.sequence(path, n, v)
	case reflect.String:
		if n.Type() != ast.StringType && n.Type() != ast.LiteralType {
			d.failf(path, allOfIt, at, "want text here; put it in quotes")
			return
		}
		v.SetString(text)
	case reflect.Bool:
		if b, ok := n.(*ast.BoolNode); ok {
			v.SetBool(b.Value)
			return
		}
		d.failf(path, allOfIt, at, "want true or false here")
	case reflect.Int:
		i, err := strconv.Atoi(strings.ReplaceAll(text, "_", ""))
		if !isScalar || err != nil {
			d.failf(path, allOfIt, at, "want a whole number here")
			return
		}
		v.SetInt(int64(i))
	default:
		panic("daemon: decode: no rule for " + v.Type().String())
	}
}

func (d *decoder) scalar(path string, at position, text string, isScalar bool, parse func(string) error) {
	if !isScalar {
		d.failf(path, allOfIt, at, "want a single value here")
		return
	}
	if err := parse(text); err != nil {
		d.failf(path, allOfIt, at, "%s", err)
	}
}

// entries returns the entries of a mapping whose keys are names, each once.
func (d *decoder) entries(path string, n ast.Node) (found []*ast.MappingValueNode, ok bool) {
	var all []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		all = n.Values
	case *ast.MappingValueNode:
		all = []*ast.MappingValueNode{n}
	case *ast.NullNode: // a section whose content is commented out
		return nil, true
	default:
		d.failf(path, allOfIt, where(n), "want keys and values here, like key: value")
		return nil, false
	}
	seen := make(map[string]bool, len(all))
	for _, e := range all {
		name, plain := keyName(e)
		switch {
		case !plain:
			d.failf(path, someOfIt, where(e), "want a plain name as the key")
		case seen[name]:
			d.failf(path, someOfIt, where(e), "%q stands here a second time", name)
		default:
			seen[name] = true
			found = append(found, e)
		}
	}
	return found, true
}

func keyName(e *ast.MappingValueNode) (name string, ok bool) {
	if s, ok := e.Key.(*ast.StringNode); ok {
		return s.Value, true
	}
	if _, ok := e.Key.(ast.ScalarNode); ok && !e.Key.IsMergeKey() {
		return e.Key.GetToken().Value, true
	}
	return "", false
}

func (d *decoder) structure(path string, n ast.Node, v reflect.Value) {
	entries, ok := d.entries(path, n)
	if !ok {
		return
	}
	fields := make(map[string]reflect.Value, v.NumField())
	for f, fv := range v.Fields() {
		if name := f.Tag.Get("yaml"); name != "" {
			fields[name] = fv
		}
	}
	for _, e := range entries {
		name, _ := keyName(e)
		field, known := fields[name]
		if !known {
			d.unknown(path, e, fields)
			continue
		}
		d.member(join(path, name), e, field)
	}
}

func (d *decoder) member(path string, e *ast.MappingValueNode, v reflect.Value) {
	if _, empty := e.Value.(*ast.NullNode); empty && v.Kind() != reflect.Struct && v.Kind() != reflect.Map && v.Kind() != reflect.Slice {
		d.failf(path, allOfIt, where(e), "%q has no value; give it one or remove the line", e.Key.GetToken().Value)
		return
	}
	d.value(path, e.Value, v)
}

func (d *decoder) mapping(path string, n ast.Node, v reflect.Value) {
	entries, ok := d.entries(path, n)
	if !ok {
		return
	}
	v.Set(reflect.MakeMapWithSize(v.Type(), len(entries)))
	for _, e := range entries {
		name, _ := keyName(e)
		if name == "" {
			d.failf(path, someOfIt, where(e), "the name is empty; give it one")
			continue
		}
		element := newElement(v.Type().Elem())
		d.member(join(path, name), e, element)
		v.SetMapIndex(reflect.ValueOf(name), element)
	}
}

func (d *decoder) sequence(path string, n ast.Node, v reflect.Value) {
	if _, empty := n.(*ast.NullNode); empty {
		v.Set(reflect.MakeSlice(v.Type(), 0, 0))
		return
	}
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		d.failf(path, allOfIt, where(n), "want a list here, like [a, b]")
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), 0, len(seq.Values)))
	for i, item := range seq.Values {
		element := newElement(v.Type().Elem())
		if item == nil {
			d.failf(path, allOfIt, where(n), "an item of this list is empty")
			continue
		}
		d.value(path+"["+strconv.Itoa(i)+"]", item, element)
		v.Set(reflect.Append(v, element))
	}
}

func newElement(t reflect.Type) reflect.Value {
	v := reflect.New(t)
	if e, ok := reflect.TypeAssert[defaulted](v); ok {
		e.defaults()
	}
	return v.Elem()
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// unknown reports a key that is none of fields, and what it may have been meant
// to be: that one has no value then.
func (d *decoder) unknown(path string, e *ast.MappingValueNode, fields map[string]reflect.Value) {
	name, _ := keyName(e)
	names := slices.Sorted(maps.Keys(fields))
	best, distance := "", 3 // more than two slips is another word
	for _, known := range names {
		if n := slips(strings.ToLower(name), known); n < distance && n < len(known) {
			best, distance = known, n
		}
	}
	if best != "" {
		d.failf(join(path, best), allOfIt, where(e), "unknown key %q; did you mean %q?", name, best)
		return
	}
	d.failf(path, someOfIt, where(e), "unknown key %q; known here: %s", name, strings.Join(names, ", "))
}

// slips counts the letters to insert, remove or replace between a and b
// (Levenshtein); it gives up on words that are much longer than any key.
func slips(a, b string) int {
	if len(a) > 2*len(b)+2 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
