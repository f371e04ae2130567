package xconnect_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	_ "github.com/fairlead-edge/fairlead/daemon/xconnect"
	"github.com/fairlead-edge/fairlead/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// patience bounds a wait that fails a test.
const patience = 20 * time.Second

// offered returns what a server's SETTINGS say of extended CONNECT
// (RFC 8441 §3), and whether they say it.
func offered(t *testing.T) (value uint32, said bool) {
	t.Helper()
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	defer s.Close()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil {
		t.Fatal(err)
	}
	framer := http2.NewFramer(conn, conn)
	if err := framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	for {
		f, err := framer.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if settings, ok := f.(*http2.SettingsFrame); ok && !settings.IsAck() {
			return settings.Value(http2.SettingEnableConnectProtocol)
		}
	}
}

func TestAServersSettingsOfferExtendedConnect(t *testing.T) {
	if value, said := offered(t); !said || value != 1 {
		t.Errorf("SETTINGS 8 is %d, %v", value, said)
	}
}

// asChild tells the test binary that it was run to print its GODEBUG.
const asChild = "XCONNECT_CHILD"

func TestTheOthersSettingsOfGODEBUGAreKept(t *testing.T) {
	if os.Getenv(asChild) != "" {
		_, _ = os.Stdout.WriteString("[" + os.Getenv("GODEBUG") + "]")
		return
	}
	for given, want := range map[string]string{
		"":                            "[http2xconnect=1]",
		"http2debug=0":                "[http2debug=0,http2xconnect=1]",
		"http2xconnect=0":             "[http2xconnect=0]",
		"http2xconnect=1,netdns=go+0": "[http2xconnect=1,netdns=go+0]",
	} {
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestTheOthersSettingsOfGODEBUGAreKept$")
		child.Env = append(os.Environ(), asChild+"=1", "GODEBUG="+given)
		out, err := child.Output()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("GODEBUG=%s became %s, %v; want %s", given, out, err, want)
		}
	}
}
