import { act, cleanup, fireEvent, screen } from '@testing-library/react';
import fixture from '../../fixtures/messages.json';
import { DEFAULTS } from '../host';
import widget, { WidgetHost } from '../widget';

afterEach(cleanup);

/** What anywidget gives, with traits that the test sets. */
class FakeModel {
  readonly sent: unknown[] = [];
  saved = 0;
  private readonly _listeners = new Map<string, Set<(content: unknown) => void>>();
  private readonly _traits: { [name: string]: unknown };

  constructor(traits: { [name: string]: unknown } = {}) {
    this._traits = { state: fixture.state, running: '', failure: '', plans: [], defaults: {}, ...traits };
  }

  get(name: string): unknown {
    return this._traits[name];
  }

  set(name: string, value: unknown): void {
    this._traits[name] = value;
  }

  save_changes(): void {
    this.saved++;
  }

  send(content: unknown): void {
    this.sent.push(content);
  }

  on(event: string, callback: (content: unknown) => void): void {
    this._listeners.set(event, (this._listeners.get(event) ?? new Set()).add(callback));
  }

  off(event: string, callback: (content: unknown) => void): void {
    this._listeners.get(event)?.delete(callback);
  }

  /** Python sets a trait. */
  become(name: string, value: unknown): void {
    this._traits[name] = value;
    this.tell(`change:${name}`, value);
  }

  tell(event: string, content: unknown): void {
    this._listeners.get(event)?.forEach(callback => callback(content));
  }

  get listeners(): number {
    return [...this._listeners.values()].reduce((sum, callbacks) => sum + callbacks.size, 0);
  }
}

it('reads its state from the traits, and keeps it until one of them changes', () => {
  const model = new FakeModel({ defaults: { steps: 7 } });
  const host = new WidgetHost(model);
  const first = host.getState();
  expect(first).toMatchObject({ situation: { kind: 'ready' }, run: null, failure: null });
  expect(first.state?.models[0].name).toBe('net');
  expect(first.defaults).toEqual({ ...DEFAULTS, steps: 7 });
  expect(host.getState()).toBe(first);
  const heard = jest.fn();
  const stop = host.subscribe(heard);
  model.become('failure', 'ValueError: no');
  expect(heard).toHaveBeenCalledTimes(1);
  expect(host.getState().failure).toBe('ValueError: no');
  stop();
  model.become('failure', '');
  expect(heard).toHaveBeenCalledTimes(1);
  expect(host.getState().failure).toBeNull();
});

it('traits that are no message and no plans are left out', () => {
  const host = new WidgetHost(new FakeModel({ state: { type: 'state' }, plans: [{ name: 'x' }] }));
  expect(host.getState()).toMatchObject({ state: null, plans: [] });
});

it('shows progress of a run from its beginning on, and none after its end', () => {
  jest.useFakeTimers({ now: 1000 });
  try {
    const model = new FakeModel();
    const host = new WidgetHost(model);
    model.become('running', 'run');
    expect(host.getState().run).toEqual({ action: 'run', model: '', since: 1000 });
    jest.setSystemTime(3000);
    model.tell('msg:custom', { ...fixture.progress, seconds: 0 });
    expect(host.getState().progress).toMatchObject({ done: 5, seconds: 2 });
    expect(host.getState().run?.since).toBe(1000);
    model.tell('msg:custom', { type: 'progress', done: 'much' });
    expect(host.getState().progress?.done).toBe(5);
    model.become('running', '');
    expect(host.getState()).toMatchObject({ run: null, progress: null });
  } finally {
    jest.useRealTimers();
  }
});

it('sends what is asked to Python by its name', () => {
  const model = new FakeModel();
  const host = new WidgetHost(model);
  host.run({ action: 'run', model: 'net', fields: { model: 'net', widths: { '0': 8 } } });
  host.refresh();
  host.loadBlocks('net');
  host.act();
  expect(model.sent).toEqual([
    { op: 'run', model: 'net', fields: { model: 'net', widths: { '0': 8 } } },
    { op: 'state' },
    { op: 'blocks', model: 'net' },
    { op: 'state' }
  ]);
  const plan = { name: 'small', model: 'net', widths: { '0': 8 } };
  host.savePlans([plan]);
  expect(host.getState().plans).toEqual([plan]);
  expect(model.saved).toBe(1);
});

it('shows the same panel in a cell, works in it, and leaves nothing behind', async () => {
  const model = new FakeModel();
  const el = document.body.appendChild(document.createElement('div'));
  let close: () => void = () => undefined;
  await act(async () => {
    close = widget.render({ model, el });
  });
  expect(el.className).toBe('jlc-Widget');
  fireEvent.click(screen.getByLabelText('Choose 0'));
  fireEvent.click(screen.getByRole('button', { name: 'Compress' }));
  expect(model.sent).toEqual([
    {
      op: 'run',
      model: 'net',
      fields: { model: 'net', calibration: 'x_train', widths: { '0': 256 } }
    }
  ]);
  await act(async () => close());
  expect(el.childElementCount).toBe(0);
  expect(model.listeners).toBe(0);
});
