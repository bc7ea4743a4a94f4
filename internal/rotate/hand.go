package rotate

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"dkimd/keys"
)

// errors of single steps. Compare with errors.Is.
var (
	// ErrUnderWay: mail with signatures of the key may be under way.
	ErrUnderWay = errors.New("mail that it has signed may be under way")
	// ErrLast: no other key would sign.
	ErrLast = errors.New("it is the only key that signs")
)

// find is a key of the job.
func (j *job) find(selector string, places ...keys.Place) (keys.Held, error) {
	for _, k := range j.held {
		if k.Selector == selector && slices.Contains(places, k.Place) {
			return k, nil
		}
	}
	return keys.Held{}, fmt.Errorf("%s has no key %q of which this can be done", j.domain.Name, selector)
}

// Publish asks for the record of a key, and does nothing else.
func (e *Engine) Publish(ctx context.Context, name, selector string) (Line, error) {
	j, unlock, err := e.open(ctx, name)
	if err != nil {
		return Line{}, err
	}
	defer unlock()
	k, err := j.find(selector, keys.Waiting, keys.Signing)
	if err == nil {
		err = j.complete(ctx, &k)
	}
	if err != nil {
		return Line{}, err
	}
	now := j.Now()
	s := Next(keys.Held{Selector: selector, Place: keys.Waiting, Life: keys.Life{
		Stage: keys.StageMade, Since: now.Wall, Type: k.Life.Type, Record: k.Life.Record, Before: k.Life.Before, Looked: now,
	}}, j.facts(ctx, selector), j.Policy, now)
	line := Line{Domain: j.domain.Name, Selector: selector, Stage: k.Stage(), Text: s.Text, Stuck: s.Stuck}
	if s.Do != Publish {
		if s.Stuck {
			return line, fmt.Errorf("publish %s/%s: %s", name, selector, s.Text)
		}
		return line, nil
	}
	if k.Recorded {
		s.Life = k.Life
	}
	if k.Place == keys.Signing {
		s.Life.Stage = keys.StageActive
	}
	s.Life.Reminded = now.Wall // who asks here is told here
	_, err = j.publish(ctx, k, &s, &line)
	if line.Record == "" {
		line.Text = "its record is asked for"
	}
	return line, err
}

// Retire has a key sign no more. Its record stays.
func (e *Engine) Retire(ctx context.Context, name, selector string, last bool) (Line, error) {
	j, unlock, err := e.open(ctx, name)
	if err != nil {
		return Line{}, err
	}
	defer unlock()
	k, err := j.find(selector, keys.Signing)
	if err == nil {
		err = j.complete(ctx, &k)
	}
	switch {
	case err != nil:
		return Line{}, err
	case !last && !slices.ContainsFunc(j.domain.Keys, func(other *keys.Key) bool { return other.Selector != selector }):
		return Line{}, fmt.Errorf("retire %s/%s: %w", name, selector, ErrLast)
	}
	if err := j.claimed(ctx, selector); err != nil {
		return Line{}, fmt.Errorf("retire %s/%s: %w", name, selector, err)
	}
	// First what it is, or nobody would know how to revoke it.
	s := Step{Life: k.Life}
	if err := j.domain.SaveLife(selector, s.Life); err != nil {
		return Line{}, err
	}
	if err := j.domain.Retire(selector); err != nil {
		return Line{}, err
	}
	if err := j.Reload(ctx, j.names); err != nil {
		return Line{}, fmt.Errorf("it signs until dkimd has reloaded: %w", err)
	}
	s.enter(keys.StageRetiring, j.Now())
	line := Line{Domain: j.domain.Name, Selector: selector, Stage: s.Life.Stage, Text: "signs no more; its record stays"}
	return line, j.domain.SaveLife(selector, s.Life)
}

// Revoke ends the wait of a key that has retired: its record is revoked, and its private key destroyed. Before the wait
// is over that takes force.
func (e *Engine) Revoke(ctx context.Context, name, selector string, force bool) (Report, error) {
	j, unlock, err := e.open(ctx, name)
	if err != nil {
		return Report{}, err
	}
	k, err := j.find(selector, keys.Retired, keys.NoFile)
	if err == nil && k.Life.Stage == keys.StageRetiring {
		s := Step{Life: k.Life}
		s.count(j.Now())
		if left := s.left(j.Policy.Keep + s.Life.TTL); left > 0 && !force {
			err = fmt.Errorf("revoke %s/%s: %w for another %s", name, selector, ErrUnderWay, span(left))
		}
		s.Life.Waited = max(s.Life.Waited, j.Policy.Keep+s.Life.TTL)
		k.Life = s.Life
	}
	if err == nil {
		k.Life.Rotating = true
		err = j.domain.SaveLife(selector, k.Life)
	}
	unlock()
	if err != nil {
		return Report{}, err
	}
	return e.Step(ctx, name)
}
