package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"google.golang.org/protobuf/proto"

	conformancev1 "github.com/fairlead-edge/fairlead/conformance/grpc/connectrpc/conformance/v1"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "grpc:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	asked := new(conformancev1.ServerCompatRequest)
	if err := readMessage(os.Stdin, asked); err != nil {
		return fmt.Errorf("standard input: %w", err)
	}
	switch {
	case len(args) == 1 && args[0] == "serve":
		return serve(ctx, asked, os.Stdout)
	case len(args) == 4 && args[0] == "front":
		return front(ctx, asked, os.Stdout, args[1], args[2], args[3])
	default:
		return errors.New("say serve, or front h1|h2c|h2 FAIRLEAD REFERENCESERVER")
	}
}

// maxMessage is far more than any message of the suite about servers.
const maxMessage = 1 << 20

// readMessage reads one message with its length before it, in four bytes.
func readMessage(r io.Reader, m proto.Message) error {
	var size uint32
	if err := binary.Read(r, binary.BigEndian, &size); err != nil {
		return fmt.Errorf("length of %T: %w", m, err)
	}
	if size > maxMessage {
		return fmt.Errorf("%T of %d bytes: at most %d are expected", m, size, maxMessage)
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(r, b); err != nil {
		return fmt.Errorf("%T: %w", m, err)
	}
	return proto.Unmarshal(b, m)
}

// writeMessage writes what readMessage reads.
func writeMessage(w io.Writer, m proto.Message) error {
	b, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...))
	return err
}
