import { cleanup, fireEvent, render, screen } from '@testing-library/react';
import * as React from 'react';
import { plainTrans } from '../../host';
import { App } from '../../view/App';
import { BLOCK, FakeHost, NET, STATE } from '../fakes';

afterEach(cleanup);

/** A host that counts how often each sentence is asked for: once a rendering of the part that shows it. */
class CountingHost extends FakeHost {
  readonly asked = new Map<string, number>();
  override readonly trans = {
    ...plainTrans,
    __: (text: string, ...args: (string | number)[]): string => {
      this.asked.set(text, (this.asked.get(text) ?? 0) + 1);
      return plainTrans.__(text, ...args);
    }
  };

  /** How often the parts with these sentences are rendered while something happens. */
  renderings(sentences: string[], happening: () => void): number[] {
    const before = sentences.map(sentence => this.asked.get(sentence) ?? 0);
    happening();
    return sentences.map((sentence, index) => (this.asked.get(sentence) ?? 0) - before[index]);
  }
}

const BLOCKS = ['a', 'b'].map(name => ({ ...BLOCK, name }));

function opened(): CountingHost {
  const host = new CountingHost({ state: { ...STATE, models: [{ ...NET, blocks: BLOCKS }] } });
  render(<App host={host} />);
  fireEvent.click(screen.getByLabelText('Choose a'));
  fireEvent.click(screen.getByLabelText('Choose b'));
  fireEvent.click(screen.getByRole('tab', { name: /Validate/ }));
  return host;
}

it('while a width is dragged only what shows widths is rendered', () => {
  const host = opened();
  const slider = screen.getAllByRole('slider')[0];
  const drag = (): void =>
    [1, 2, 3, 4, 5].forEach(value => fireEvent.change(slider, { target: { value: String(value) } }));
  const shown = ['Width of %1', 'The whole model', 'Filter blocks'];
  const others = ['Train on', 'learning rate', 'Refresh', 'About this model', 'Steps'];
  expect(host.renderings(shown, drag)).toEqual(shown.map(() => 5));
  expect(host.renderings(others, drag)).toEqual(others.map(() => 0));
});

it('a row of the table is rendered when its own width changes, not when another one does', () => {
  const host = opened();
  const names = (): number => host.asked.get('Choose %1') ?? 0;
  const before = names();
  fireEvent.change(screen.getAllByRole('slider')[0], { target: { value: '1' } });
  expect(names() - before).toBe(1);
});

it('what is typed into one form renders no other part', () => {
  const host = opened();
  const type = (): void =>
    void fireEvent.change(screen.getByLabelText('learning rate'), { target: { value: '0.5' } });
  expect(host.renderings(['Width of %1', 'The whole model', 'Refresh'], type)).toEqual([0, 0, 0]);
});

it('progress of a cell renders no table', () => {
  const host = opened();
  const run = (): void =>
    void React.act(() =>
      host.become({ progress: { type: 'progress', label: '0', done: 5, total: 20, seconds: 2 } })
    );
  expect(host.renderings(['Filter blocks', 'Train on', '%1 %, about %2 left'], run)).toEqual([0, 0, 1]);
});
