package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/fairlead-edge/fairlead/deliver"
	"github.com/fairlead-edge/fairlead/internal/leak"
	"github.com/fairlead-edge/fairlead/topic"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestEachTransportIsCounted(t *testing.T) {
	s := httptest.NewUnstartedServer(deliver.New(deliver.Config{Topics: topic.NewStore(topic.StoreConfig{}), AllowPublish: true}))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	for _, transport := range transports {
		var each [2]float64
		for i, size := range []int{20, 200} {
			c, err := measure(t.Context(), transport, s.URL, fmt.Sprint("t/", time.Now().UnixNano()), size)
			if err != nil {
				t.Fatalf("%s: %v", transport.name, err)
			}
			each[i] = c.each
			if c.each <= float64(size) || c.each > float64(size)+2000 || transport.polls != (c.opening == 0) {
				t.Errorf("%s: a message of %d bytes costs %+v", transport.name, size, c)
			}
		}
		if more := each[1] - each[0]; more < 170 || more > 200 {
			t.Errorf("%s: 180 bytes more cost %.0f", transport.name, more)
		}
	}
}
