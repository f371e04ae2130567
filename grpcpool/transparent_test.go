package grpcpool_test

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/fairlead-edge/fairlead/grpcpool"
	"github.com/fairlead-edge/fairlead/internal/memnet"
)

// refuse answers each stream of the connection with REFUSED_STREAM: it has
// begun to process none (RFC 9113 §8.7). It returns when the connection ends.
func refuse(conn net.Conn, streams *atomic.Int64) {
	defer conn.Close()
	if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	framer := http2.NewFramer(conn, conn)
	if framer.WriteSettings() != nil {
		return
	}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return
		}
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				err = framer.WriteSettingsAck()
			}
		case *http2.HeadersFrame:
			streams.Add(1)
			err = framer.WriteRSTStream(f.StreamID, http2.ErrCodeRefusedStream)
		}
		if err != nil {
			return
		}
	}
}

func TestWhatAServerRefusesUnprocessedIsSentAgainOnceWhateverRetrySays(t *testing.T) {
	for _, retry := range []grpcpool.Retry{grpcpool.RetryNone(), grpcpool.RetrySafe("another.Service")} {
		synctest.Test(t, func(t *testing.T) {
			network, streams := memnet.New(), atomic.Int64{}
			var wg sync.WaitGroup
			wg.Go(func() {
				for {
					conn, err := network.Accept()
					if err != nil {
						return
					}
					wg.Go(func() { refuse(conn, &streams) })
				}
			})
			p := open(t, "passthrough:///peer", grpcpool.Config{Retry: retry, DialOptions: []grpc.DialOption{
				grpc.WithTransportCredentials(insecure.NewCredentials()),
				grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) { return network.Dial(ctx, "", address) }),
			}})
			if err := unary(t.Context(), p); status.Code(err) != codes.Unavailable || streams.Load() != 2 {
				t.Errorf("sent %d times: %v", streams.Load(), err)
			}
			_ = p.Close()
			_ = network.Close()
			wg.Wait()
		})
	}
}
