package deliver_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/deliver"
	"github.com/fairlead-edge/fairlead/topic"
)

// cell is what a transport does about a bad input. The table in the protocol's
// document is made of the wants.
type cell struct {
	want string
	do   probe // nil: the input cannot be made on this transport
}

// bad is a row: an input on each transport.
type bad struct {
	input                         string
	stream, page, socket, v1, pub cell
	cfg                           deliver.Config
	policy                        topic.Policy
	before                        func(s *site)
}

func (b *bad) cells() []cell { return []cell{b.stream, b.page, b.socket, b.v1, b.pub} }

const columns = "| input | event stream | page | WebSocket | `fairlead.v1.json` | publish |\n| --- | --- | --- | --- | --- | --- |\n"

// read makes the cells of an input in a URL that is read.
func read(b bad, path, v1 string, stream, page, socket, many_ string, headers ...string) bad {
	b.stream, b.page = cell{stream, asSSE(path, headers...)}, cell{page, asPage(path, headers...)}
	b.socket = cell{socket, one(path, headers...)}
	if v1 != "" {
		b.v1 = cell{many_, many(v1)}
	}
	return b
}

// name makes the row of a topic's name that is refused everywhere.
func name(input, escaped, quoted string, v1 string) bad {
	b := read(bad{input: input}, "/topics/"+escaped, `{"id":1,"subscribe":"`+quoted+`"}`, "400", "400", "400", v1)
	b.pub = cell{"400", post("/topics/"+escaped, "x")}
	return b
}

func hello(s *site) { s.publish("t", "hello") }

var plenty = strings.Repeat("x", 1<<20)

func badInputs() []bad {
	short := deliver.Config{WriteTimeout: 100 * time.Millisecond}
	other := string(fairlead.NewCursor(1, 1))
	get := "GET /topics/t HTTP/1.1\r\nHost: h\r\n\r\n"
	long := strings.Repeat("n", fairlead.MaxTopicName+1)
	huge := "X-Huge: " + strings.Repeat("h", 1<<20+8<<10) + "\r\n\r\n"
	rows := []bad{
		name("a name over 255 bytes", long, long, "`invalid_argument`"),
		name("a name with an empty segment, `.` or `..`", "a/../b", "a//b", "`invalid_argument`"),
		name("a name with a line break", "a%0Ab", `a\nb`, "`invalid_argument`"),
		name("a name that is not UTF-8", "a%FFb", "a\xffb", "close 1007"),
		name("a reserved name, `$…`", "$internal", "$internal", "`invalid_argument`"),
		read(bad{input: "a topic that does not exist"}, "/topics/nobody", `{"id":1,"subscribe":"nobody"}`, "404", "404", "404", "`not_found`"),
		read(bad{input: "a cursor that is none", before: hello}, "/topics/t?after=zzz", `{"id":1,"subscribe":"t","after":"zzz"}`, "400", "400", "400", "`invalid_argument`"),
		read(bad{input: "an id with a line break", before: hello}, "/topics/t?last_event_id=a%0Ab", `{"id":1,"subscribe":"t","after":"a\nb"}`, "400", "400", "400", "`invalid_argument`"),
		read(bad{input: "a cursor of another topic, or of a removed one", before: hello}, "/topics/t?after="+other, `{"id":1,"subscribe":"t","after":"`+other+`"}`,
			"200, `fairlead.gap`", "200, `gap`", "`gap`", "`gap`"),
		read(bad{input: "the same with `gap=fail`", before: hello}, "/topics/t?gap=fail&after="+other, "", "410", "410", "410", ""),
		read(bad{input: "a cursor over 8 KiB", before: hello}, "/topics/t", `{"id":1,"subscribe":"t","after":"`+strings.Repeat("a", 9<<10)+`"}`,
			"431", "431", "431", "`invalid_argument`", "Last-Event-ID: "+strings.Repeat("a", 9<<10)),
		read(bad{input: "a page of a foreign `Origin`", before: hello}, "/topics/t", "", "403", "403", "403", "", "Origin: https://elsewhere.example"),
		read(bad{input: "a parameter that is not understood", before: hello}, "/topics/t?limit=-1&format=xml", "", "400", "400", "400", ""),
		read(bad{input: "a second reader of a topic with `deliver: wait`", policy: topic.Policy{Deliver: topic.Wait}, before: func(s *site) {
			s.publish("t", "hello")
			s.events("/topics/t?after=earliest").next()
		}}, "/topics/t", `{"id":1,"subscribe":"t"}`, "409", "409", "409", "`conflict`"),
	}
	rows[3].v1.do = mangled("/topics", "fairlead.v1.json", `{"id":1,"subscribe":"`+"a\xffb"+`"}`)
	rows[11].v1 = cell{"403", asSocket("/topics", []string{"Origin: https://elsewhere.example"}, []string{"fairlead.v1.json"})}
	rows[11].pub = cell{"403", post("/topics/t", "x", "Origin: https://elsewhere.example")}
	return append(rows,
		bad{
			input: "a header over the server's limit (`fairlead serve`: 64 KiB)", before: hello,
			stream: cell{"431", raw("GET /topics/t HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n"+huge, false)},
			page:   cell{"431", raw("GET /topics/t HTTP/1.1\r\nHost: h\r\nAccept: application/json\r\n"+huge, false)},
			pub:    cell{"431", raw("POST /topics/t HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n"+huge, false)},
		},
		bad{
			input: "a body or message over its limit", before: hello, cfg: deliver.Config{MaxBody: 100, MaxMessage: 200},
			socket: cell{"close 1009", asSocket("/topics/t", nil, nil, plenty[:201])},
			v1:     cell{"close 1009", many(plenty[:201])},
			pub:    cell{"413", post("/topics/t", plenty[:101])},
		},
		bad{
			input: "a body that stops before its length", before: hello, cfg: short,
			pub: cell{"408", raw("POST /topics/t HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf", false)},
		},
		bad{
			input: "a body where none belongs", before: hello,
			stream: cell{"400", raw("GET /topics/t HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf", false)},
			page:   cell{"400", raw("DELETE /topics/t HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf", false)},
		},
		bad{
			input: "a body whose sender closes its half of the connection", before: hello,
			pub: cell{"400", raw("POST /topics/t HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf", true)},
		},
		bad{
			input: "a reader that closes its half of the connection", before: hello,
			stream: cell{"200, then cut", raw(get, true)},
			page:   cell{"200", raw("GET /topics/t?after=latest&wait=30 HTTP/1.1\r\nHost: h\r\nAccept: application/json\r\n\r\n", true)},
			socket: cell{"close 1006", func(s *site) string {
				conn := dialRaw(s)
				defer conn.Close()
				if _, err := conn.Write([]byte(handshake("/topics/t"))); err != nil {
					s.t.Fatal(err)
				}
				conn.CloseWrite()
				return swallowed(s, conn)
			}},
		},
		bad{
			input: "a reader that never reads", before: hello, cfg: short,
			stream: cell{"200, then cut", deaf(get, flood)},
			socket: cell{"close 1006", deaf(handshake("/topics/t"), flood)},
		},
		bad{
			input: "a reader too slow for a topic with `on_lag: close`", before: hello,
			policy: topic.Policy{OnLag: topic.LagClose, Events: 2, Bytes: 64 << 20},
			stream: cell{"200, then cut", deaf(get, overrun)},
			socket: cell{"close 4408", deaf(handshake("/topics/t"), overrun)},
		},
		bad{
			input: "past the end of a closed topic", before: func(s *site) { s.publish("t", "x", "Fairlead-Close: ?1") },
			stream: cell{"204", pastEnd(func(c string) probe { return asSSE("/topics/t?after=" + c) })},
			page:   cell{"200, `end`", pastEnd(func(c string) probe { return asPage("/topics/t?after=" + c) })},
			socket: cell{"close 1000", pastEnd(func(c string) probe { return one("/topics/t?after=" + c) })},
			v1:     cell{"`end`", pastEnd(func(c string) probe { return many(`{"id":1,"subscribe":"t","after":"` + c + `"}`) })},
			pub:    cell{"409", post("/topics/t", "more")},
		},
		bad{
			input: "a topic that broke or was removed under its reader", before: hello,
			stream: cell{"200, `fairlead.fault`", removing(asSSE("/topics/t"))},
			page:   cell{"200, `fault`", removing(asPage("/topics/t?after=latest&wait=30"))},
			socket: cell{"close 4500", removing(one("/topics/t"))},
			v1:     cell{"`fault`", removing(many(`{"id":1,"subscribe":"t"}`))},
		},
		bad{
			input: "none of the accepted media types", before: hello,
			stream: cell{"406", request("GET", "/topics/t", "Accept: image/png, text/event-stream;q=0")},
			page:   cell{"406", asPage("/topics?topic=t")},
		},
		bad{
			input: "an unknown subprotocol, or none", before: hello,
			socket: cell{"400", asSocket("/topics/t", nil, []string{"fairlead.v9"})},
			v1:     cell{"400", asSocket("/topics", nil, []string{"fairlead.v9"})},
		},
		bad{
			input: "a message that cannot be read", before: hello,
			socket: cell{"`invalid_argument`", asSocket("/topics/t", nil, nil, `{"id":1,"ping":true}`)},
			v1:     cell{"`invalid_argument`", many(`{"id":1,`)},
		},
		bad{
			input: "a binary message", before: hello,
			socket: cell{"`invalid_argument`", binary("/topics/t", nil)},
			v1:     cell{"`invalid_argument`", binary("/topics", []string{"fairlead.v1.json"})},
		},
		bad{
			input: "a CloudEvent that lacks what it needs, has a time outside the years 1 to 9999, or is not UTF-8", before: hello,
			pub: cell{"400", post("/topics/t", `{"specversion":"1.0","id":"1","source":"s","type":"t","time":"9999-12-31T23:59:59-01:00"}`, "Content-Type: application/cloudevents+json")},
		},
		bad{
			input: "coming back to several topics that were all removed", before: hello,
			stream: cell{"204", asSSE("/topics?topic=a&topic=b&after=" + placeOf("a", other) + "~" + placeOf("b", other))},
		},
		bad{
			input: "an event of a type that begins with `fairlead.`", before: hello,
			v1:  cell{"`invalid_argument`", many(`{"id":1,"publish":"t","data":1,"type":"fairlead.end"}`)},
			pub: cell{"400", post("/topics/t", "x", "Fairlead-Type: fairlead.end")},
		},
		bad{
			input: "a type or key with a line break", before: hello,
			v1:  cell{"`invalid_argument`", many(`{"id":1,"publish":"t","data":1,"key":"a\nid: b"}`)},
			pub: cell{"400", post("/topics/t", `{"specversion":"1.0","id":"1","source":"s","type":"a\nid: b"}`, "Content-Type: application/cloudevents+json")},
		},
		bad{
			input: "a batch of which one event is wrong", before: hello,
			pub: cell{"400", post("/topics/t", "{}\n{", "Content-Type: application/x-ndjson")},
		},
		bad{
			input: "a body with a `Content-Encoding` (`fairlead serve` decodes zstd, br and gzip, and answers 415 to others)", before: hello,
			pub: cell{"415", post("/topics/t", "x", "Content-Encoding: gzip")},
		},
		bad{
			input: "an `Idempotency-Key` with another body", before: func(s *site) {
				s.publish("t", "hello", "Idempotency-Key: k")
			},
			v1:  cell{"`key_reused`", many(`{"id":1,"publish":"t","data":1,"idempotency_key":"k"}`)},
			pub: cell{"422", post("/topics/t", "other", "Content-Type: text/plain", "Idempotency-Key: k")},
		},
		bad{
			input: "publishing without the token", cfg: deliver.Config{PublishToken: "secret"},
			v1:  cell{"`unauthenticated`", many(`{"id":1,"publish":"t","data":1}`)},
			pub: cell{"401", raw("POST /topics/t HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\nAuthorization: Bearer wrong\r\n\r\nhalf", false)},
		},
		bad{
			input: "another method", before: hello,
			stream: cell{"405", request("PATCH", "/topics?topic=t")},
			page:   cell{"405", request("PUT", "/topics/t")},
		},
	)
}

func TestEveryBadInputHasItsAnswerOnEveryTransport(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, serve func(deliver.Config) *site) {
		for _, b := range badInputs() {
			for i, c := range b.cells() {
				if c.do == nil {
					continue
				}
				t.Run(fmt.Sprint(b.input, "/", [...]string{"stream", "page", "socket", "v1", "publish"}[i]), func(t *testing.T) {
					cfg := b.cfg
					cfg.Topics = topic.NewStore(topic.StoreConfig{Policy: func(string) topic.Policy { return b.policy }})
					s := serve(cfg)
					s.t = t
					if b.before != nil {
						b.before(s)
					}
					if got := c.do(s); got != c.want {
						t.Errorf("got %s, want %s", got, c.want)
					}
					if b.cfg.PublishToken == "" && b.cfg.MaxBody == 0 && b.cfg.WriteTimeout == 0 {
						s.publish("afterwards", "it still works")
					}
				})
			}
		}
	})
}

var update = flag.Bool("update", false, "rewrite the generated table of docs/protocol.md")

func TestTheProtocolsDocumentHasTheTableOfErrors(t *testing.T) {
	t.Parallel()
	const file, begin, end = "../docs/protocol.md", "<!-- table:errors -->\n", "<!-- /table:errors -->"
	var want strings.Builder
	want.WriteString(columns)
	for _, b := range badInputs() {
		want.WriteString("| " + b.input)
		for _, c := range b.cells() {
			text := c.want
			if text == "" {
				text = "–"
			}
			want.WriteString(" | " + text)
		}
		want.WriteString(" |\n")
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	got, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no section between %s and %s", file, begin, end)
	}
	if *update {
		if err := os.WriteFile(file, []byte(before+begin+want.String()+end+after), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got != want.String() {
		t.Errorf("the table of %s is not the one that is tested; run go test ./deliver -run ProtocolsDocument -update", file)
	}
}
