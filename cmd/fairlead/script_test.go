package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// exits runs fairlead and compares its exit status:
//
//	exits STATUS ARGS...
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: exits STATUS ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	status := 0
	if err := ts.Exec("fairlead", args[1:]...); err != nil {
		e, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		status = e.ExitCode()
	}
	if status != want {
		ts.Fatalf("exit status %d, want %d", status, want)
	}
}

// patience bounds a wait of a script; a failing one says what it waited for.
const patience = 20 * time.Second

// await waits until a file that a background command writes has a line that
// begins with the words given, and puts the rest of it into a variable:
//
//	await FILE WORD VARIABLE
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: await FILE WORD VARIABLE")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		text, _ := os.ReadFile(ts.MkAbs(args[0])) // not there yet
		for line := range bytes.Lines(text) {
			if rest, ok := strings.CutPrefix(strings.TrimSuffix(string(line), "\n"), args[1]); ok && bytes.HasSuffix(line, []byte("\n")) {
				ts.Setenv(args[2], strings.TrimSpace(rest))
				return
			}
		}
		select {
		case <-ctx.Done():
			ts.Fatalf("%s has no line that begins with %q: %s", args[0], args[1], text)
		case <-tick.C:
		}
	}
}

// get fetches a URL and prints status and body:
//
//	get URL
func get(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: get URL")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, args[0], nil)
	ts.Check(err)
	req.Header.Set("Accept", "application/json")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	ts.Check(err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	ts.Check(err)
	_, err = ts.Stdout().Write([]byte(res.Status + "\n" + string(body)))
	ts.Check(err)
}
