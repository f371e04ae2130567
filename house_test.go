package fairlead_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/fairlead-edge/fairlead/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

const module = "github.com/fairlead-edge/fairlead"

// room is a row of the import table: which packages of this module a package
// may import, and why no more. Tests are free, since they show rooms together.
type room struct {
	may []string
	why string
}

// rooms is the import table. Imports go down only; "." is the root.
var rooms = map[string]room{
	".":         {nil, "the nouns both ends share stand on the standard library alone"},
	"listen":    {nil, "takes an http.Handler and net.Listeners: usable in front of any server"},
	"compress":  {nil, "wraps any http.Handler"},
	"proxy":     {[]string{".", "internal/tunnel"}, "forwards through any http.RoundTripper, and answers failures by the table of codes"},
	"upstream":  {[]string{"."}, "is an http.RoundTripper for any program, and refuses by the table of codes"},
	"websocket": {[]string{"internal/tunnel"}, "speaks RFC 6455 over any stream"},
	"sse":       {nil, "speaks text/event-stream over any reader and writer"},
	"fanout":    {nil, "owns sockets and is given frames"},
	"grpcpool":  {nil, "is a grpc.ClientConnInterface for any generated client"},
	"topic":     {[]string{"."}, "a log knows events and cursors, and no transport"},
	"deliver":   {[]string{".", "topic", "sse", "websocket", "fanout", "internal/wire", "proto/fairlead/v1"}, "the joint of topics, transports and the engine"},
	"rpc": {[]string{".", "topic", "deliver", "internal/wire", "proto/fairlead/v1", "proto/fairlead/v1/fairleadv1connect"},
		"the joint of deliver's sessions and the schema's service"},
	"interceptor": {nil, "works with any service of connect-go"},
	"capture":     {[]string{".", "topic", "sse"}, "the joint of a round tripper, a log and the event stream it records"},
	"client": {[]string{".", "sse", "websocket", "internal/wire", "proto/fairlead/v1", "proto/fairlead/v1/fairleadv1connect"},
		"meets the server only in the nouns and on the wire"},
	"console":           {[]string{"sse"}, "a page, and the event stream that feeds it"},
	"observe":           {[]string{"."}, "rooms report through hooks of their own"},
	"daemon":            {[]string{".", "*"}, "composes every room; only cmd calls it"},
	"cmd/fairlead":      {[]string{".", "daemon", "client"}, "flags in, one call out"},
	"daemon/xconnect":   {nil, "must be initialised before net/http"},
	"internal/h2client": {nil, "is imported by the tests of every room"},
	"internal/leak":     {nil, "is imported by every test"},
	"internal/memnet":   {nil, "is imported by the tests of every room"},
	"internal/tunnel":   {nil, "a stream of bytes for the rooms that speak WebSocket and relay it"},
	"internal/wire":     {[]string{".", "proto/fairlead/v1"}, "the JSON both ends share, and events as messages"},
}

// testOnly are the packages that no program may contain.
var testOnly = []string{"internal/h2client", "internal/leak", "internal/memnet"}

// fences says where a third-party module may be imported, so that it can be
// replaced there. The room "test" stands for any test file.
var fences = map[string]room{
	"github.com/gobwas/ws":               {[]string{"websocket"}, "frames"},
	"github.com/gobwas/httphead":         {[]string{"websocket"}, "the extension header of a handshake"},
	"github.com/goccy/go-yaml":           {[]string{"daemon"}, "the config file, with positions in its errors"},
	"github.com/alecthomas/kong":         {[]string{"cmd/fairlead"}, "flags"},
	"github.com/prometheus":              {[]string{"observe"}, "metrics"},
	"github.com/quic-go/quic-go":         {[]string{"listen", "test"}, "QUIC and HTTP/3, and clients that speak them"},
	"golang.org/x/sys":                   {[]string{"fanout", "listen"}, "epoll, and what the system says of a socket, by the names that package syscall lacks"},
	"golang.org/x/net/ipv4":              {[]string{"listen"}, "the batches in which quic-go reads a socket"},
	"github.com/klauspost/compress":      {[]string{"compress"}, "zstd, and gzip that is faster than the standard library's"},
	"github.com/molecule-man/go-brrr":    {[]string{"compress"}, "brotli, with dictionaries"},
	"connectrpc.com/connect":             {[]string{"rpc", "interceptor", "client", "daemon", "test"}, "gRPC, gRPC-Web and Connect over net/http, both ends"},
	"connectrpc.com/grpcreflect":         {[]string{"rpc", "test"}, "grpc.reflection"},
	"connectrpc.com/otelconnect":         {[]string{"interceptor"}, "spans of calls"},
	"go.opentelemetry.io/otel":           {[]string{"interceptor", "observe", "test"}, "tracing: the API, and in observe what exports spans"},
	"github.com/go-logr/logr":            {[]string{"observe"}, "to hear what OpenTelemetry says of its variables"},
	"golang.org/x/net/http/httpguts":     {[]string{"observe"}, "whether a header can be sent"},
	"go.opentelemetry.io/proto/otlp":     {[]string{"test"}, "a collector of spans"},
	"google.golang.org/grpc":             {[]string{"grpcpool", "test"}, "grpc-go: the channels that are pooled, and peers in tests"},
	"google.golang.org/protobuf":         {[]string{"rpc", "deliver", "client", "internal/wire", "interceptor", "test"}, "the messages of proto/"},
	"google.golang.org/genproto":         {[]string{"rpc", "client", "test"}, "the details of errors"},
	"go.uber.org/goleak":                 {[]string{"internal/leak"}, "leaked goroutines"},
	"pgregory.net/rapid":                 {[]string{"test"}, "property tests"},
	"github.com/rogpeppe/go-internal":    {[]string{"test"}, "the command line's test scripts"},
	"golang.org/x/net/http2":             {[]string{"internal/h2client", "test"}, "a client that sends what net/http's would not"},
	"github.com/prometheus/client_model": {[]string{"observe", "test"}, "reading metrics back"},
}

// noExample are the packages without an Example of their own.
var noExample = map[string]string{
	".":               "nouns: the examples of the rooms use them",
	"daemon":          "its example is the program",
	"cmd/fairlead":    "its examples are the test scripts",
	"daemon/xconnect": "is imported for what it does when the program starts",
}

// source is one parsed Go file.
type source struct {
	path  string // from the root, with slashes
	text  string
	file  *ast.File
	fset  *token.FileSet
	lines int
}

func (s *source) pkg() string  { return path.Dir(s.path) }
func (s *source) isTest() bool { return strings.HasSuffix(s.path, "_test.go") }
func (s *source) generated() bool {
	return ast.IsGenerated(s.file)
}

func (s *source) at(n ast.Node) string {
	return fmt.Sprintf("%s:%d", s.path, s.fset.Position(n.Pos()).Line)
}

func parse(name, text string) (*source, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, text, parser.ParseComments)
	return &source{name, text, file, fset, strings.Count(text, "\n")}, err
}

// files calls f with every file of the repository that is not made by a tool.
func files(t *testing.T, f func(name, text string)) {
	t.Helper()
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if slices.Contains([]string{".git", ".tools", "node_modules", "bin", "artifacts"}, d.Name()) {
				return filepath.SkipDir
			}
			return nil
		}
		text, err := os.ReadFile(name)
		if err == nil {
			f(filepath.ToSlash(name), string(text))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// sources returns the Go files of this module, and of conformance when all.
func sources(t *testing.T, all bool) []*source {
	t.Helper()
	var found []*source
	files(t, func(name, text string) {
		if !strings.HasSuffix(name, ".go") || strings.Contains(name, "testdata/") || !all && strings.HasPrefix(name, "conformance/") {
			return
		}
		s, err := parse(name, text)
		if err != nil {
			t.Fatal(err)
		}
		if !s.generated() {
			found = append(found, s)
		}
	})
	if len(found) == 0 {
		t.Fatal("no Go files found")
	}
	return found
}

// check reports every finding of rule.
func check(t *testing.T, from []*source, rule func(*source) []string) {
	t.Helper()
	for _, s := range from {
		for _, finding := range rule(s) {
			t.Error(finding)
		}
	}
}

func TestImportsGoDownOnly(t *testing.T)                 { check(t, sources(t, false), importsUp) }
func TestThirdPartyModulesStayInTheirRooms(t *testing.T) { check(t, sources(t, false), importsOutside) }
func TestEveryExportedNameIsDocumented(t *testing.T)     { check(t, sources(t, false), undocumented) }
func TestNoFileIsOver500Lines(t *testing.T)              { check(t, sources(t, true), tooLong) }
func TestNoTestSleeps(t *testing.T)                      { check(t, sources(t, true), sleeps) }
func TestNoTestIsSkipped(t *testing.T)                   { check(t, sources(t, true), skips) }

func TestNoMachinePathIsNamed(t *testing.T) {
	files(t, func(name, text string) {
		for _, finding := range machinePaths(name, text) {
			t.Error(finding)
		}
	})
}

func TestEveryRoomHasAnExample(t *testing.T) {
	for _, finding := range lacking(sources(t, false), "an Example", isExample, func(pkg string) bool {
		return noExample[pkg] != "" || strings.HasPrefix(pkg, "internal/")
	}) {
		t.Error(finding)
	}
}

func TestEveryPackagesTestsWatchForLeakedGoroutines(t *testing.T) {
	for _, finding := range lacking(sources(t, true), "a TestMain that calls leak.Main", callsLeakMain, func(string) bool { return false }) {
		t.Error(finding)
	}
}

func importsUp(s *source) (findings []string) {
	if s.isTest() {
		return nil
	}
	row, known := rooms[s.pkg()]
	if !known {
		return []string{fmt.Sprintf("%s: package %s has no row in the import table; add one with its reason", s.path, s.pkg())}
	}
	for _, spec := range s.file.Imports {
		name, own := strings.CutPrefix(imported(spec), module)
		if !own {
			continue
		}
		name = path.Clean("./" + name)
		composes := slices.Contains(row.may, "*") && !strings.HasPrefix(name, "cmd/") && !slices.Contains(testOnly, name)
		if !composes && !slices.Contains(row.may, name) {
			findings = append(findings, fmt.Sprintf("%s: %s imports %s, but %s", s.at(spec), s.pkg(), name, row.why))
		}
	}
	return findings
}

func importsOutside(s *source) (findings []string) {
	for _, spec := range s.file.Imports {
		name := imported(spec)
		host, _, _ := strings.Cut(name, "/")
		if !strings.Contains(host, ".") || strings.HasPrefix(name, module) {
			continue
		}
		// The longest prefix decides, so that one package of a module can differ.
		best, may := "", []string(nil)
		for prefix, fence := range fences {
			if (name == prefix || strings.HasPrefix(name, prefix+"/")) && len(prefix) > len(best) {
				best, may = prefix, fence.may
			}
		}
		switch {
		case best == "":
			findings = append(findings, fmt.Sprintf("%s: %s has no fence; add one with its reason", s.at(spec), name))
		case !slices.Contains(may, s.pkg()) && !(s.isTest() && slices.Contains(may, "test")):
			findings = append(findings, fmt.Sprintf("%s: %s belongs in %s only", s.at(spec), name, may))
		}
	}
	return findings
}

func imported(spec *ast.ImportSpec) string {
	name, err := strconv.Unquote(spec.Path.Value)
	if err != nil {
		panic(err) // the parser has accepted it
	}
	return name
}

func undocumented(s *source) (findings []string) {
	if s.isTest() || s.file.Name.Name == "main" {
		return nil
	}
	want := func(name *ast.Ident, docs ...*ast.CommentGroup) {
		if name.IsExported() && !slices.ContainsFunc(docs, func(d *ast.CommentGroup) bool { return d.Text() != "" }) {
			findings = append(findings, fmt.Sprintf("%s: %s has no doc comment", s.at(name), name.Name))
		}
	}
	for _, decl := range s.file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil || ast.IsExported(receiver(d)) {
				want(d.Name, d.Doc)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					want(spec.Name, spec.Doc, d.Doc)
				case *ast.ValueSpec:
					for _, name := range spec.Names {
						want(name, spec.Doc, spec.Comment, d.Doc)
					}
				}
			}
		}
	}
	return findings
}

func receiver(d *ast.FuncDecl) string {
	name := ""
	ast.Inspect(d.Recv.List[0].Type, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok && name == "" {
			name = id.Name
		}
		return name == ""
	})
	return name
}

func tooLong(s *source) []string {
	if s.lines <= 500 {
		return nil
	}
	return []string{fmt.Sprintf("%s has %d lines; would a reader want two files?", s.path, s.lines)}
}

// sleeps finds time.Sleep in test files without testing/synctest, in whose
// bubbles the clock is not the machine's.
func sleeps(s *source) (findings []string) {
	if !s.isTest() || slices.ContainsFunc(s.file.Imports, func(i *ast.ImportSpec) bool { return imported(i) == "testing/synctest" }) {
		return nil
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok && sel.Sel.Name == "Sleep" && fmt.Sprint(sel.X) == "time" {
			findings = append(findings, s.at(n)+": a test sleeps; wait for what it waits for, or use testing/synctest")
		}
		return true
	})
	return findings
}

// skips finds tests that skip themselves. A rapid.T that skips only drops an
// input that its test does not mean.
func skips(s *source) (findings []string) {
	if !s.isTest() {
		return nil
	}
	var in func(n ast.Node, tests []string)
	in = func(n ast.Node, tests []string) {
		ast.Inspect(n, func(inner ast.Node) bool {
			switch inner := inner.(type) {
			case *ast.FuncDecl:
				if inner.Body != nil {
					in(inner.Body, withParams(tests, inner.Type))
				}
				return false
			case *ast.FuncLit:
				in(inner.Body, withParams(tests, inner.Type))
				return false
			case *ast.SelectorExpr:
				if x, ok := inner.X.(*ast.Ident); ok && slices.Contains(tests, x.Name) &&
					slices.Contains([]string{"Skip", "Skipf", "SkipNow"}, inner.Sel.Name) {
					findings = append(findings, s.at(inner)+": a skipped test proves nothing; make it pass or fail")
				}
			}
			return true
		})
	}
	in(s.file, nil)
	return findings
}

// withParams returns which names stand for a test inside a function: those
// around it that its parameters do not hide, and its parameters of package
// testing.
func withParams(outer []string, f *ast.FuncType) []string {
	tests := slices.Clone(outer)
	for _, field := range f.Params.List {
		typ := field.Type
		if star, ok := typ.(*ast.StarExpr); ok {
			typ = star.X
		}
		sel, isSel := typ.(*ast.SelectorExpr)
		for _, name := range field.Names {
			tests = slices.DeleteFunc(tests, func(n string) bool { return n == name.Name })
			if isSel && fmt.Sprint(sel.X) == "testing" {
				tests = append(tests, name.Name)
			}
		}
	}
	return tests
}

// machinePath matches directories of one machine's people and checkouts.
var machinePath = regexp.MustCompile(`(?m)(?:^|[\s"'=(:\x60])(/(?:root|home|work|Users)/[a-z]\w*)`)

func machinePaths(name, text string) (findings []string) {
	if strings.ContainsRune(text, 0) {
		return nil // not text
	}
	for i, line := range strings.Split(text, "\n") {
		if m := machinePath.FindStringSubmatch(line); m != nil {
			findings = append(findings, fmt.Sprintf("%s:%d: names a path of one machine: %s", name, i+1, m[1]))
		}
	}
	return findings
}

func isExample(s *source) bool {
	return declares(s, func(f *ast.FuncDecl) bool { return strings.HasPrefix(f.Name.Name, "Example") })
}

func callsLeakMain(s *source) bool {
	return declares(s, func(f *ast.FuncDecl) bool {
		return f.Name.Name == "TestMain" && strings.Contains(s.text[f.Pos()-s.file.FileStart:f.End()-s.file.FileStart], "leak.Main(")
	})
}

func declares(s *source, is func(*ast.FuncDecl) bool) bool {
	return s.isTest() && slices.ContainsFunc(s.file.Decls, func(d ast.Decl) bool {
		f, ok := d.(*ast.FuncDecl)
		return ok && f.Recv == nil && is(f)
	})
}

// lacking names the packages that are not exempt and none of whose files is so.
func lacking(from []*source, what string, is func(*source) bool, exempt func(pkg string) bool) (findings []string) {
	has := map[string]bool{}
	for _, s := range from {
		has[s.pkg()] = has[s.pkg()] || is(s)
	}
	for pkg, ok := range has {
		if !ok && !exempt(pkg) {
			findings = append(findings, fmt.Sprintf("package %s has not %s", pkg, what))
		}
	}
	slices.Sort(findings)
	return findings
}

func TestTheHouseRulesCanFail(t *testing.T) {
	for _, c := range []struct {
		rule             func(*source) []string
		path, bad, right string
	}{
		{importsUp, "sse/a.go", `import "` + module + `/topic"`, `import "strings"`},
		{importsUp, "topic/a.go", `import "` + module + `/sse"`, `import "` + module + `"`},
		{importsUp, "daemon/a.go", `import "` + module + `/cmd/fairlead"`, `import "` + module + `/capture"`},
		{importsUp, "daemon/a.go", `import "` + module + `/internal/memnet"`, `import "` + module + `/internal/wire"`},
		{importsUp, "util/a.go", ``, ``},
		{importsOutside, "topic/a.go", `import "github.com/gobwas/ws/wsutil"`, `import "net/http"`},
		{importsOutside, "topic/a.go", `import "pgregory.net/rapid"`, ``},
		{importsOutside, "topic/a_test.go", `import "example.org/other"`, `import "pgregory.net/rapid"`},
		{undocumented, "sse/a.go", `func Read() {}`, "// Read reads.\nfunc Read() {}"},
		{undocumented, "sse/a.go", `type T[E any] struct{}; func (t *T[E]) Read() {}`, `type t struct{}; func (t *t) Read() {}`},
		{undocumented, "sse/a.go", "const (\nA = 1\n)", "const (\nA = 1 // one\n)"},
		{tooLong, "sse/a.go", strings.Repeat("\n", 501), strings.Repeat("\n", 498)},
		{sleeps, "sse/a_test.go", `func f() { time.Sleep(1) }`, "import \"testing/synctest\"\nfunc f() { synctest.Test(nil, func(t *testing.T) { time.Sleep(1) }) }"},
		{skips, "sse/a_test.go", `func f(t *testing.T) { t.Skip("slow") }`, `func f(t *testing.T) { check(func(t *rapid.T) { t.Skip() }) }`},
		{skips, "sse/a_test.go", `func f(t *testing.T) { g(func() { t.SkipNow() }) }`, `func f(h *heap) { h.Skip() }`},
	} {
		for _, text := range []string{c.bad, c.right} {
			s, err := parse(c.path, "package a\n"+text)
			if err != nil {
				t.Fatal(err)
			}
			found := c.rule(s)
			if text == c.bad && len(found) == 0 {
				t.Errorf("%s passes with %.80q", c.path, text)
			}
			if text == c.right && text != c.bad && len(found) > 0 {
				t.Errorf("%s fails with %.80q: %s", c.path, text, found)
			}
		}
	}
	if found := machinePaths("a.md", `see "/ro`+`ot/notes" there`); len(found) != 1 {
		t.Error("a path of one machine passes")
	}
	if found := machinePaths("a.md", "GET /topics/wo"+"rk/items and a/root/b"); found != nil {
		t.Error("a path of a URL fails:", found)
	}
	without, err := parse("sse/a_test.go", "package a\nfunc TestMain(m *testing.M) { m.Run() }")
	if err != nil {
		t.Fatal(err)
	}
	nobody := func(string) bool { return false }
	if lacking([]*source{without}, "", isExample, nobody) == nil || lacking([]*source{without}, "", callsLeakMain, nobody) == nil {
		t.Error("a package passes without an Example or without leak.Main")
	}
}
