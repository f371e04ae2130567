package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
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
}

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
	d.at = make(map[string]position)
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

// maxDepth bounds brackets within brackets, and the columns of an indentation:
// the parser recurses on both, and no panic of it could be turned into an error
// once its stack is full.
const maxDepth = 100

// nested returns where text is nested deeper than maxDepth. What looks so may
// be a comment, a quoted text or an empty line: the tokens tell.
func nested(text []byte) (at position, deep bool) {
	if !looksNested(text) {
		return position{}, false
	}
	open := 0
	for _, t := range lexer.Tokenize(string(text)) {
		switch t.Type {
		case token.MappingStartType, token.SequenceStartType:
			open++
		case token.MappingEndType, token.SequenceEndType:
			open = max(open-1, 0)
		case token.CommentType:
			continue
		}
		block := t.Type == token.SequenceEntryType || t.Type == token.MappingKeyType
		if open > maxDepth || t.Position.IndentNum > maxDepth || block && t.Position.Column > maxDepth {
			return position{t.Position.Line, t.Position.Column}, true
		}
	}
	return position{}, false
}

// looksNested is cheap, and wrong about texts and comments only.
func looksNested(text []byte) bool {
	open, column := 0, 0
	indenting := true
	for _, c := range text {
		column++
		switch c {
		case '\n':
			column, indenting = 0, true
			continue
		case '[', '{':
			open++
		case ']', '}':
			open = max(open-1, 0)
		}
		indenting = indenting && (c == ' ' || c == '-' || c == '?' || c == '\t')
		if open > maxDepth || indenting && column > maxDepth {
			return true
		}
	}
	return false
}

// parse turns a panic of the parser into an error: what it reads is a file
// that somebody is still writing.
func parse(text []byte) (file *ast.File, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("this is not YAML that can be read (%v)", p)
		}
	}()
	return parser.ParseBytes(text, 0)
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

func where(n ast.Node) position {
	var t *token.Token
	switch n := n.(type) {
	case *ast.MappingNode:
		if len(n.Values) > 0 && !n.IsFlowStyle {
			t = n.Values[0].Key.GetToken()
		} else {
			t = n.GetToken()
		}
	case *ast.MappingValueNode:
		t = n.Key.GetToken()
	default:
		t = n.GetToken()
	}
	if t == nil || t.Position == nil {
		return position{1, 1}
	}
	return position{t.Position.Line, t.Position.Column}
}

// value reads n, which stands at path, into v.
func (d *decoder) value(path string, n ast.Node, v reflect.Value) {
	n = rejoin(n)
	at := where(n)
	d.at[path] = at
	switch n.(type) {
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode, *ast.MergeKeyNode:
		d.reportf(at, "anchors, aliases and tags are not read; write the value itself")
		return
	}
	text, isScalar := scalarText(n)
	if s, ok := reflect.TypeAssert[scalar](v.Addr()); ok {
		d.scalar(at, text, isScalar, s.parse)
		return
	}
	if w, ok := reflect.TypeAssert[worded](v.Addr()); ok && isScalar {
		d.scalar(at, text, isScalar, w.word)
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
			d.reportf(at, "want text here; put it in quotes")
			return
		}
		v.SetString(text)
	case reflect.Bool:
		if b, ok := n.(*ast.BoolNode); ok {
			v.SetBool(b.Value)
			return
		}
		d.reportf(at, "want true or false here")
	case reflect.Int:
		i, err := strconv.Atoi(strings.ReplaceAll(text, "_", ""))
		if !isScalar || err != nil {
			d.reportf(at, "want a whole number here")
			return
		}
		v.SetInt(int64(i))
	default:
		panic("daemon: decode: no rule for " + v.Type().String())
	}
}

func (d *decoder) scalar(at position, text string, isScalar bool, parse func(string) error) {
	if !isScalar {
		d.reportf(at, "want a single value here")
		return
	}
	if err := parse(text); err != nil {
		d.reportf(at, "%s", err)
	}
}

func scalarText(n ast.Node) (text string, ok bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	}
	return "", false
}

// rejoin undoes what the parser does to a plain scalar with a colon in a list
// within braces, {endpoints: [http://a:9000]}: it takes it for a key and its
// value, though a colon without a space after it is neither (YAML 1.2 §7.3.3).
func rejoin(n ast.Node) ast.Node {
	e, ok := n.(*ast.MappingValueNode)
	if m, isMap := n.(*ast.MappingNode); isMap && !m.IsFlowStyle && len(m.Values) == 1 {
		e, ok = m.Values[0], true
	}
	if !ok || e.Value == nil {
		return n
	}
	key, plain := e.Key.(*ast.StringNode)
	value := rejoin(e.Value)
	text, isScalar := scalarText(value)
	if !plain || !isScalar || key.Token.Type != token.StringType {
		return n
	}
	from, colon, to := key.Token.Position, e.Start.Position, value.GetToken().Position
	if to.Line != from.Line || colon.Column != from.Column+len(key.Value) || to.Column != colon.Column+1 {
		return n
	}
	text = key.Value + ":" + text
	return ast.String(token.String(text, text, from))
}

// entries returns the entries of a mapping whose keys are names, each once.
func (d *decoder) entries(n ast.Node) (found []*ast.MappingValueNode, ok bool) {
	var all []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		all = n.Values
	case *ast.MappingValueNode:
		all = []*ast.MappingValueNode{n}
	case *ast.NullNode: // a section whose content is commented out
		return nil, true
	default:
		d.reportf(where(n), "want keys and values here, like key: value")
		return nil, false
	}
	seen := make(map[string]bool, len(all))
	for _, e := range all {
		name, plain := keyName(e)
		switch {
		case !plain:
			d.reportf(where(e), "want a plain name as the key")
		case seen[name]:
			d.reportf(where(e), "%q stands here a second time", name)
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
	entries, ok := d.entries(n)
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
			d.reportf(where(e), "%s", unknownKey(name, fields))
			continue
		}
		d.member(join(path, name), e, field)
	}
}

func (d *decoder) member(path string, e *ast.MappingValueNode, v reflect.Value) {
	if _, empty := e.Value.(*ast.NullNode); empty && v.Kind() != reflect.Struct && v.Kind() != reflect.Map && v.Kind() != reflect.Slice {
		d.reportf(where(e), "%q has no value; give it one or remove the line", e.Key.GetToken().Value)
		return
	}
	d.value(path, e.Value, v)
}

func (d *decoder) mapping(path string, n ast.Node, v reflect.Value) {
	entries, ok := d.entries(n)
	if !ok {
		return
	}
	v.Set(reflect.MakeMapWithSize(v.Type(), len(entries)))
	for _, e := range entries {
		name, _ := keyName(e)
		if name == "" {
			d.reportf(where(e), "the name is empty; give it one")
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
		d.reportf(where(n), "want a list here, like [a, b]")
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), 0, len(seq.Values)))
	for i, item := range seq.Values {
		element := newElement(v.Type().Elem())
		if item == nil {
			d.reportf(where(n), "an item of this list is empty")
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

// unknownKey says what the key may have been meant to be.
func unknownKey(name string, fields map[string]reflect.Value) string {
	names := make([]string, 0, len(fields))
	for known := range fields {
		names = append(names, known)
	}
	slices.Sort(names)
	best, distance := "", 3 // more than two slips is another word
	for _, known := range names {
		if n := slips(strings.ToLower(name), known); n < distance && n < len(known) {
			best, distance = known, n
		}
	}
	if best != "" {
		return fmt.Sprintf("unknown key %q; did you mean %q?", name, best)
	}
	return fmt.Sprintf("unknown key %q; known here: %s", name, strings.Join(names, ", "))
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
