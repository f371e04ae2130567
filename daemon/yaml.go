package daemon

import (
	"fmt"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

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
