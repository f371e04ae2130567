package conformance_test

import (
	_ "embed"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	fairleadv1 "github.com/fairlead-edge/fairlead/proto/fairlead/v1"
)

//go:embed testdata/connect.html
var connectPage string

func TestChromiumSubscribesAndPublishesByConnectAndGRPCWebThroughACutNetwork(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.Handle("/node_modules/", http.FileServer(http.Dir(".")))
	mux.HandleFunc("/schema", func(w http.ResponseWriter, _ *http.Request) {
		b, err := proto.Marshal(schema(fairleadv1.File_fairlead_v1_topics_proto))
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(b)
	})
	mux.Handle("/", &site{html: connectPage})
	s := serve(t, "--topics", "--upstream", upstream(t, mux))
	network := cut(t, s.http)
	s.publish("news", "0")
	browser := browse(t, network.url+"/")
	next := map[string]int{"connect": 0, "json": 0, "grpcweb": 0}
	behind := func(i int) bool { return min(next["connect"], next["json"], next["grpcweb"]) <= i }
	const events = 9
	for i := range events {
		for behind(i) {
			got := decode[delivered](t, browser.line())
			if got.Type != "" || got.Data != fmt.Sprint(next[got.Via]) || got.ID == "" {
				t.Fatalf("after %v came %+v", next, got)
			}
			next[got.Via]++
		}
		if i%3 == 2 {
			network.cut()
		}
		if i < events-1 {
			s.publish("news", fmt.Sprint(i+1))
		}
	}
	curl(t, "-X", "POST", "-H", "Fairlead-Close: ?1", s.http+"/topics/news").rest()
	for ended := map[string]bool{}; len(ended) < len(next); {
		got := decode[delivered](t, browser.line())
		if got.Type != "end" {
			t.Fatalf("after the end came %+v", got)
		}
		ended[got.Via] = true
	}
	want := make([]string, events)
	for i := range want {
		want[i] = fmt.Sprint("to ", i)
	}
	for via := range next {
		if got := getPage(t, s.http+"/topics/answers/"+via).data(); got != strings.Join(want, " ") {
			t.Errorf("by %s it was answered %q", via, got)
		}
	}
}

// schema returns a file and what it imports, in the order that a reader needs.
func schema(file protoreflect.FileDescriptor) *descriptorpb.FileDescriptorSet {
	set, seen := new(descriptorpb.FileDescriptorSet), map[string]bool{}
	var add func(f protoreflect.FileDescriptor)
	add = func(f protoreflect.FileDescriptor) {
		if seen[f.Path()] {
			return
		}
		seen[f.Path()] = true
		for i := range f.Imports().Len() {
			add(f.Imports().Get(i))
		}
		set.File = append(set.File, protodesc.ToFileDescriptorProto(f))
	}
	add(file)
	return set
}
