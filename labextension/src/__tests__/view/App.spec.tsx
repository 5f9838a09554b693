import { act, cleanup, fireEvent, render, screen, within } from '@testing-library/react';
import * as React from 'react';
import { Situation } from '../../host';
import { IBlock, IState } from '../../kernel/messages';
import { TARGETS, choicesOf } from '../../python/actions';
import { App } from '../../view/App';
import { BLOCK, FakeHost, NET, STATE } from '../fakes';

afterEach(cleanup);

const withBlocks = (blocks: IBlock[]): IState => ({ ...STATE, models: [{ ...NET, blocks }] });
const grid = (): HTMLElement => screen.getByRole('treegrid');

it('lists models, blocks and what they are', () => {
  render(<App host={new FakeHost()} />);
  expect(screen.getByRole('region', { name: 'Compress' })).toBeTruthy();
  expect(
    within(screen.getByLabelText('Model'))
      .getAllByRole('option')
      .map(option => option.textContent)
  ).toEqual(['net', 'net_slim (slim)']);
  expect(within(grid()).getByText('1,024')).toBeTruthy();
});

it('goes through the flow by keyboard and writes the cell', () => {
  const host = new FakeHost();
  render(<App host={host} />);
  fireEvent.keyDown(grid(), { key: ' ' });
  fireEvent.change(screen.getByLabelText('Neurons'), { target: { value: '48' } });
  fireEvent.click(screen.getByRole('button', { name: 'Compress' }));
  expect(host.ran).toHaveLength(1);
  expect(host.ran[0].code).toContain('{"0": 48}');
  expect(host.ran[0].code).toContain('calibration=x_train');
  fireEvent.keyDown(screen.getByRole('tab', { name: /Compress/ }), { key: 'ArrowRight' });
  fireEvent.click(screen.getByRole('button', { name: 'Validate' }));
  expect(host.ran[1].code).toContain('jlab_compress.validate');
  fireEvent.click(screen.getByRole('tab', { name: /Export/ }));
  fireEvent.click(screen.getByRole('button', { name: 'Export' }));
  expect(host.ran[2].code).toContain('"net_slim.onnx"');
});

it('totals follow the slider', () => {
  render(<App host={new FakeHost()} />);
  fireEvent.click(screen.getByLabelText('Choose 0'));
  const whole = screen.getByRole('table', { name: 'The whole model' });
  const after = (): string => within(whole).getByRole('row', { name: /^Parameters/ }).textContent ?? '';
  const before = after();
  fireEvent.change(screen.getByRole('slider'), { target: { value: '3' } });
  expect(screen.getByRole('slider').getAttribute('aria-valuetext')).toBe('4 of 1,024 neurons');
  expect(after()).not.toBe(before);
});

it('counts in the unit that the kernel names, whatever the kind', () => {
  const attention = { ...BLOCK, name: 'attn', kind: 'some-new-kind', unit: 'heads', width: 8, polylog: null };
  render(<App host={new FakeHost({ state: withBlocks([attention, BLOCK]) })} />);
  fireEvent.click(screen.getByLabelText('Choose 0'));
  fireEvent.click(screen.getByLabelText('Choose attn'));
  expect(within(grid()).getByText('heads')).toBeTruthy();
  fireEvent.change(screen.getByRole('slider'), { target: { value: '2' } });
  expect(screen.getByRole('slider').getAttribute('aria-valuetext')).toBe('3 of 8 heads');
  expect(screen.getByLabelText<HTMLInputElement>('Heads').value).toBe('3');
  fireEvent.change(screen.getByLabelText('All chosen'), { target: { value: 'polylog' } });
  fireEvent.click(screen.getByRole('button', { name: 'Compress' }));
  expect(screen.getByText(/Blocks without a polylog width/)).toBeTruthy();
  expect(within(grid()).getByText(/→ 3/)).toBeTruthy();
});

it('takes up the widths that a cell has shared out while the panel was open', () => {
  const blocks = ['a', 'b'].map(name => ({ ...BLOCK, name }));
  const state = withBlocks(blocks);
  const host = new FakeHost({
    state: { ...state, models: [{ ...state.models[0], widths: { a: 7, b: 8 } }] }
  });
  render(<App host={host} />);
  fireEvent.click(screen.getByLabelText('Choose a'));
  fireEvent.click(screen.getByLabelText('Choose b'));
  expect(within(grid()).queryByText(/→ 7/)).toBeNull();
  fireEvent.change(screen.getByLabelText('All chosen'), { target: { value: 'smaller' } });
  fireEvent.click(screen.getByRole('button', { name: 'Allocate by sensitivity' }));
  expect(host.ran[0].code).toContain('parameters=0.25,\n    blocks=["a", "b"],');
  const found = { ...state.models[0], widths: { a: 30, b: 200 } };
  act(() => host.become({ state: { ...state, models: [found] } }));
  expect(within(grid()).getByText(/→ 30/)).toBeTruthy();
  expect(within(grid()).getByText(/→ 200/)).toBeTruthy();
  expect(screen.getByText('The widths of 2 blocks are set.')).toBeTruthy();
});

it('serves what is exported, and nothing without a kernel', () => {
  const host = new FakeHost();
  render(<App host={host} />);
  fireEvent.click(screen.getByRole('tab', { name: /Export/ }));
  fireEvent.change(screen.getByLabelText('Target'), { target: { value: 'mlflow' } });
  fireEvent.change(screen.getByLabelText('Precision'), { target: { value: 'float16' } });
  fireEvent.click(screen.getByRole('button', { name: 'Serve here and compare' }));
  expect(host.ran[0].code).toContain('jlab_compress.serve_and_compare');
  expect(host.ran[0].code).toContain('layout="mlflow"');
  expect(host.ran[0]).toMatchObject({
    action: 'serve',
    fields: { layout: 'mlflow', precision: 'float16', directory: 'mlflow_models', original: 'net' }
  });
  fireEvent.change(screen.getByLabelText('Target'), { target: { value: 'pt2' } });
  expect(screen.queryByLabelText('Precision')).toBeNull();
  fireEvent.click(screen.getByRole('button', { name: 'Export' }));
  expect(host.ran[1].fields).toEqual({
    slim: 'net_slim',
    example_inputs: 'x_train',
    target: 'pt2',
    path: 'net_slim.pt2'
  });
  act(() => host.become({ situation: { kind: 'dead' } }));
  expect(screen.getByText('The kernel is not connected.')).toBeTruthy();
  expect(screen.getByRole('button', { name: 'Export' }).hasAttribute('disabled')).toBe(true);
});

it('predicts the errors for the aim that is chosen', () => {
  const host = new FakeHost();
  render(<App host={host} />);
  fireEvent.click(screen.getByLabelText('Choose 0'));
  fireEvent.change(screen.getByLabelText('Keep'), { target: { value: 'function' } });
  fireEvent.click(screen.getByRole('button', { name: 'Predict errors' }));
  expect(host.ran[0]).toMatchObject({
    action: 'sweep',
    fields: { widths: ['0'], preserve: 'function', calibration: 'x_train' }
  });
  expect(host.ran[0].code).toContain('preserve="function"');
});

it('offers the aims and targets that Python lists, in its words', () => {
  render(<App host={new FakeHost()} />);
  const offered = (label: string): [string, string | null][] =>
    [...screen.getByLabelText<HTMLSelectElement>(label).options].map(option => [
      option.value,
      option.textContent
    ]);
  expect(offered('Keep')).toEqual(choicesOf('run', 'preserve'));
  fireEvent.click(screen.getByRole('tab', { name: /Export/ }));
  expect(offered('Target')).toEqual(TARGETS.map(({ name, label }) => [name, label]));
  expect(offered('Precision').slice(0, -1)).toEqual(choicesOf('export', 'precision'));
});

it('refuses half a number and says so', () => {
  render(<App host={new FakeHost()} />);
  fireEvent.click(screen.getByLabelText('Choose 0'));
  const field = screen.getByLabelText('Neurons');
  fireEvent.change(field, { target: { value: '0' } });
  expect(field.getAttribute('aria-invalid')).toBe('true');
  expect(within(grid()).getByText(/→ 64/)).toBeTruthy();
});

it('a locked block shows why and cannot be chosen', () => {
  const locked = { ...BLOCK, name: 'norm', locked: 'a LayerNorm reads the units' };
  render(<App host={new FakeHost({ state: withBlocks([locked]) })} />);
  expect(screen.getByText('a LayerNorm reads the units')).toBeTruthy();
  expect(screen.queryByRole('checkbox', { name: /norm/ })).toBeNull();
  fireEvent.keyDown(grid(), { key: ' ' });
  expect(screen.getByRole('button', { name: 'Compress' }).hasAttribute('disabled')).toBe(true);
});

it('offers to find blocks on real inputs where the kernel says that they are needed', () => {
  const reason = 'the model did not run';
  const blocks = (needs_input: boolean): IState => withBlocks([{ ...BLOCK, locked: reason, needs_input }]);
  const host = new FakeHost({ state: blocks(false) });
  render(<App host={host} />);
  expect(screen.queryByRole('button', { name: 'Find blocks' })).toBeNull();
  act(() => host.become({ state: blocks(true) }));
  fireEvent.click(screen.getByRole('button', { name: 'Find blocks' }));
  expect(host.ran[0]).toMatchObject({
    action: 'inspect',
    fields: { model: 'net', example_inputs: 'x_train' }
  });
  expect(host.ran[0].code).toContain(
    'net_blocks = jlab_compress.find_blocks(\n    net,\n    x_train[:8],\n)'
  );
});

it('walks the tree with arrows', () => {
  const blocks = ['a.0', 'a.1', 'b'].map(name => ({ ...BLOCK, name }));
  render(<App host={new FakeHost({ state: withBlocks(blocks) })} />);
  const active = (): string | null | undefined =>
    document.getElementById(grid().getAttribute('aria-activedescendant') ?? '')?.textContent;
  fireEvent.keyDown(grid(), { key: 'ArrowRight' });
  expect(active()).toContain('0');
  fireEvent.keyDown(grid(), { key: 'ArrowLeft' });
  expect(active()).toContain('a');
  fireEvent.keyDown(grid(), { key: 'ArrowLeft' });
  expect(within(grid()).getAllByRole('row')).toHaveLength(3);
  fireEvent.keyDown(grid(), { key: 'End' });
  expect(active()).toContain('b');
});

it('keeps only the rows in sight in the page', () => {
  const blocks = Array.from({ length: 2000 }, (_, index) => ({ ...BLOCK, name: `layer${index}` }));
  render(<App host={new FakeHost({ state: withBlocks(blocks) })} />);
  expect(within(grid()).getAllByRole('row').length).toBeLessThan(40);
  expect(grid().getAttribute('aria-rowcount')).toBe('2001');
});

it.each([
  '<img src=x onerror="window.hit=1">',
  'line\nbreak',
  '"quote\'',
  '\u202Eright',
  'x'.repeat(10000),
  '模型'
])('shows the name %j as text', name => {
  render(<App host={new FakeHost({ state: withBlocks([{ ...BLOCK, name }]) })} />);
  expect(document.querySelector('img')).toBeNull();
  expect(document.body.textContent?.length).toBeLessThan(5000);
  expect(document.body.textContent).not.toContain('\u202E');
});

const SITUATIONS: [Situation, RegExp, RegExp | null][] = [
  [{ kind: 'no-notebook' }, /No notebook is open/, /New notebook/],
  [{ kind: 'no-kernel' }, /has no kernel/, /Choose a kernel/],
  [{ kind: 'other-language', language: 'R' }, /runs R/, /Choose a kernel/],
  [{ kind: 'starting' }, /is starting/, null],
  [{ kind: 'busy' }, /running a cell/, null],
  [{ kind: 'restarting' }, /restarting/, null],
  [{ kind: 'dead' }, /has died/, /Restart the kernel/],
  [{ kind: 'offline' }, /connection to the kernel is lost/, null],
  [{ kind: 'missing' }, /is missing in this kernel/, /Copy/],
  [{ kind: 'outdated', version: '0' }, /does not fit/, /Copy/],
  [{ kind: 'fault', message: 'why' }, /could not list/, /Try again/],
  [{ kind: 'scan-off' }, /switched off/, /Switch it on/],
  [{ kind: 'ready' }, /There is no torch model/, null]
];

it.each(SITUATIONS)('has a sentence for %j', (situation, sentence, next) => {
  const host = new FakeHost({
    situation,
    state: situation.kind === 'ready' ? { ...STATE, models: [] } : null
  });
  render(<App host={host} />);
  expect(screen.getByText(sentence)).toBeTruthy();
  if (next !== null) {
    fireEvent.click(screen.getByRole('button', { name: next }));
    expect([...host.acted, ...host.copied]).toHaveLength(1);
  }
});

it('says that torch is not there yet', () => {
  render(<App host={new FakeHost({ state: { ...STATE, torch: false, models: [] } })} />);
  expect(screen.getByText(/torch is not imported/)).toBeTruthy();
});

it('shows progress with what is left, and stops', () => {
  const host = new FakeHost({
    progress: { type: 'progress', label: '0', done: 5, total: 20, seconds: 2 }
  });
  render(<App host={host} />);
  expect(screen.getByText('25 %, about 6 s left')).toBeTruthy();
  fireEvent.click(screen.getByRole('button', { name: 'Stop' }));
  expect(host.stopped).toBe(1);
});

it('reads a result out when it arrives', () => {
  const host = new FakeHost({ state: { ...STATE, results: [] } });
  render(<App host={host} />);
  act(() => host.become({ state: STATE }));
  expect(screen.getByRole('article', { name: /Compression/ })).toBeTruthy();
  expect(screen.getByText('Compression. 1 block made slimmer.')).toBeTruthy();
  expect(screen.getByText('16×')).toBeTruthy();
});

it('asks for the blocks of a model that has none yet, but not while a cell runs', () => {
  const host = new FakeHost({ state: { ...STATE, models: [{ ...NET, blocks: null }] } });
  render(<App host={host} />);
  expect(host.loaded).toEqual(['net']);
});

it('keeps, compares, loads and deletes plans', () => {
  const host = new FakeHost();
  render(<App host={host} />);
  fireEvent.click(screen.getByLabelText('Choose 0'));
  fireEvent.click(screen.getByRole('button', { name: 'Save' }));
  fireEvent.change(screen.getByLabelText('Neurons'), { target: { value: '9' } });
  fireEvent.change(screen.getByLabelText('Name of the plan'), { target: { value: 'small' } });
  fireEvent.click(screen.getByRole('button', { name: 'Save' }));
  expect(host.getState().plans.map(plan => plan.widths)).toEqual([{ '0': 64 }, { '0': 9 }]);
  fireEvent.click(screen.getByLabelText('Compare Plan 1'));
  fireEvent.click(screen.getByLabelText('Compare small'));
  expect(screen.getByRole('group', { name: 'Plans side by side' }).textContent).toContain('0649');
  expect(screen.getByRole('row', { name: /^Parameters 4,8\d\d \d{3}$/ })).toBeTruthy();
  fireEvent.click(screen.getByLabelText('Load Plan 1'));
  expect(within(grid()).getByText(/→ 64/)).toBeTruthy();
  fireEvent.click(screen.getByLabelText('Copy small as code'));
  expect(host.copied).toEqual(['{"0": 9}']);
  fireEvent.click(screen.getByLabelText('Delete small'));
  expect(host.getState().plans).toHaveLength(1);
});

it('lists the plans that fit the model, and leaves those of another one as they are', () => {
  const other = { name: 'small', model: 'shots', widths: { c1: 3 } };
  const host = new FakeHost({ plans: [other] });
  render(<App host={host} />);
  expect(screen.queryByLabelText('Load small')).toBeNull();
  fireEvent.click(screen.getByLabelText('Choose 0'));
  fireEvent.change(screen.getByLabelText('Name of the plan'), { target: { value: 'small' } });
  fireEvent.click(screen.getByRole('button', { name: 'Save' }));
  expect(host.getState().plans).toEqual([other, { name: 'small', model: 'net', widths: { '0': 64 } }]);
  fireEvent.click(screen.getByLabelText('Delete small'));
  expect(host.getState().plans).toEqual([other]);
});

it('names a box by the whole path: layers that repeat have the same last word', () => {
  const blocks = ['a.up', 'b.up'].flatMap(name => [
    { ...BLOCK, name },
    { ...BLOCK, name: `${name}x` }
  ]);
  render(<App host={new FakeHost({ state: withBlocks(blocks) })} />);
  const boxes = screen.getAllByRole('checkbox', { name: /^Choose/ });
  expect(boxes.map(box => box.getAttribute('aria-label'))).toEqual(
    ['a', 'a.up', 'a.upx', 'b', 'b.up', 'b.upx'].map(path => `Choose ${path}`)
  );
});

it('says below a compression where its slim model is, not below that of another model', () => {
  const models = [NET, { ...NET, name: 'other' }];
  render(<App host={new FakeHost({ state: { ...STATE, models } })} />);
  expect(screen.getByText('The original, net, is unchanged. The slim model is net_slim.')).toBeTruthy();
  fireEvent.change(screen.getByLabelText('Model'), { target: { value: 'other' } });
  expect(screen.getByRole('article', { name: 'Compression net_compression' })).toBeTruthy();
  expect(screen.queryByText(/is unchanged/)).toBeNull();
});
