package fairlead_test

import (
	"fmt"
	"go/ast"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// chapterRows is how many rows each table of docs/chapter.md must have, so
// that nothing of the chapter's own tables and lists is left out.
var chapterRows = map[string]int{
	"Protocol selection guidelines": 6,
	"SSE against WebSocket":         7,
	"Common pitfalls":               15,
	"Examples 5.1 to 5.8":           8,
}

// nameInCell matches a name in a cell: a room `sse/`, a file, a heading of a
// document `docs/benchmarks.md#topics`, or a declaration `sse.ExampleWriter`.
var nameInCell = regexp.MustCompile("`([^`]+)`")

func TestEveryNameInTheChaptersMapExists(t *testing.T) {
	text, err := os.ReadFile("docs/chapter.md")
	if err != nil {
		t.Fatal(err)
	}
	findings, rows := mapFindings(string(text), declarations(t))
	for _, finding := range findings {
		t.Error(finding)
	}
	for section, want := range chapterRows {
		if rows[section] != want {
			t.Errorf("the section %q has %d rows, and the chapter %d", section, rows[section], want)
		}
	}
}

func TestTheChaptersMapCanFail(t *testing.T) {
	declared := map[string]bool{"sse.ExampleWriter": true}
	for row, wrong := range map[string]bool{
		"| heartbeats | `sse.ExampleWriter` | – |":          false,
		"| heartbeats | `house_test.go` | – |":              false,
		"| heartbeats | `ci/` | – |":                        false,
		"| heartbeats | `README.md#sixty-seconds` | – |":    false,
		"| heartbeats | planned: upstream | – |":            false,
		"| `Vary` | planned: compress | – |":                false,
		"| heartbeats | – | – |":                            true,
		"| `sse.ExampleWriter` | – | – |":                   true,
		"| heartbeats | `sse.ExampleReader` | – |":          true,
		"| heartbeats | `no/such/` | – |":                   true,
		"| heartbeats | `no/such.md` | – |":                 true,
		"| heartbeats | `README.md#no-such` | – |":          true,
		"| heartbeats | planned, `sse.ExampleReader` | – |": true,
	} {
		if found, _ := mapFindings("## A\n| what | room | number |\n| --- | --- | --- |\n"+row, declared); (found != nil) != wrong {
			t.Errorf("%s: findings are %q", row, found)
		}
	}
}

// mapFindings says what is wrong with the tables of a document: a row without
// a name or the word planned, or a name that is not in the tree. It counts the
// rows of each section.
func mapFindings(text string, declared map[string]bool) (findings []string, rows map[string]int) {
	rows = map[string]int{}
	section, head := "", true
	for i, line := range strings.Split(text, "\n") {
		if title, ok := strings.CutPrefix(line, "## "); ok {
			section = title
		}
		if !strings.HasPrefix(line, "|") {
			head = true
			continue
		}
		if head || strings.HasPrefix(line, "| ---") {
			head = false
			continue
		}
		rows[section]++
		_, cells, _ := strings.Cut(strings.TrimPrefix(line, "|"), "|")
		names := nameInCell.FindAllStringSubmatch(cells, -1)
		if len(names) == 0 && !strings.Contains(cells, "planned") {
			findings = append(findings, fmt.Sprintf("docs/chapter.md:%d: the row has neither a name nor the word planned", i+1))
		}
		for _, name := range names {
			if !exists(name[1], declared) {
				findings = append(findings, fmt.Sprintf("docs/chapter.md:%d: there is no %s", i+1, name[1]))
			}
		}
	}
	return findings, rows
}

func exists(name string, declared map[string]bool) bool {
	if declared[name] {
		return true
	}
	file, anchor, anchored := strings.Cut(name, "#")
	text, err := os.ReadFile(file)
	if !anchored {
		info, err := os.Stat(name)
		return err == nil && info.IsDir() == strings.HasSuffix(name, "/")
	}
	return err == nil && slices.Contains(anchors(string(text)), anchor)
}

// anchors returns the anchors of a document's headings.
func anchors(text string) (all []string) {
	notInAnchor := regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(line, "#") {
			title := strings.ToLower(strings.TrimSpace(strings.TrimLeft(line, "#")))
			all = append(all, strings.ReplaceAll(notInAnchor.ReplaceAllString(title, ""), " ", "-"))
		}
	}
	return all
}

// declarations returns the exported names of every package and the tests,
// examples, benchmarks and fuzz targets, as room.Name and room.Type.Method.
func declarations(t *testing.T) map[string]bool {
	t.Helper()
	declared := map[string]bool{}
	for _, s := range sources(t, true) {
		pkg := s.pkg()
		if pkg == "." {
			pkg = path.Base(module)
		}
		for _, decl := range s.file.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				name := d.Name.Name
				if d.Recv != nil {
					name = receiver(d) + "." + name
				}
				declared[pkg+"."+name] = true
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if spec, ok := spec.(*ast.TypeSpec); ok {
						declared[pkg+"."+spec.Name.Name] = true
					}
				}
			}
		}
	}
	return declared
}
