package daemon

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Path names a file, relative to the configuration's folder.
type Path struct {
	// Name is as it was written; "": none.
	Name string

	folder string
}

func (p *Path) beside(folder string) { p.folder = folder }

func (p *Path) parse(text string) error {
	if text == "" {
		return errors.New("the name of the file is empty; remove the key or give it one")
	}
	p.Name = text
	return nil
}

// file returns the name from where the process runs.
func (p Path) file() string {
	if p.Name == "" || filepath.IsAbs(p.Name) {
		return p.Name
	}
	return filepath.Join(p.folder, p.Name)
}

// Content is a file that was read with the configuration, so that a reload sees
// whether it has changed.
type Content struct {
	// File is its name as it was written; "": none.
	File string

	folder  string // of names that are relative: the configuration's own
	content []byte
}

// String returns the file's name: its content may be a key.
func (p Content) String() string { return p.File }

// maxContent bounds such a file, in bytes: all certificates that Mozilla trusts
// are 200 KiB, and a longer dictionary costs more than it saves.
const maxContent = 1 << 20

func (p *Content) beside(folder string) { p.folder = folder }

func (p *Content) parse(text string) error {
	if text == "" {
		return errors.New("the name of the file is empty; remove the key or give it one")
	}
	name := text
	if !filepath.IsAbs(name) {
		name = filepath.Join(p.folder, name)
	}
	content, err := readContent(name)
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = pe.Err
	}
	if err != nil {
		return fmt.Errorf("%s cannot be read: %w", name, err)
	}
	p.content = content
	p.File = text
	return nil
}

func readContent(name string) ([]byte, error) {
	// Opening a pipe would wait for who writes to it.
	if info, err := os.Stat(name); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	f, err := os.Open(name) //nolint:gosec // the operator names it
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxContent+1))
	if err == nil && len(content) > maxContent {
		err = fmt.Errorf("it is over %d bytes", maxContent)
	}
	return content, err
}
