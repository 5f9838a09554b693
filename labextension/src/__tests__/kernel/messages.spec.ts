import fixture from '../../../fixtures/messages.json';
import { readMessage } from '../../kernel/messages';

describe('readMessage', () => {
  it.each(['state', 'blocks', 'progress', 'error'] as const)('takes the %s message of the fixture', kind => {
    expect(readMessage(fixture[kind])).toEqual(fixture[kind]);
  });

  it('lets fields through that a newer kernel adds', () => {
    expect(readMessage({ ...fixture.progress, colour: 'blue' })).not.toBeNull();
  });

  it.each([
    ['no mapping', 5],
    ['null', null],
    ['a list', []],
    ['no type', { models: [] }],
    ['an unknown type', { type: 'run' }],
    ['a type of the prototype', { type: 'toString' }],
    ['a missing field', { type: 'progress', label: 'x', done: 1 }],
    ['a width that is text', { ...fixture.blocks, blocks: [{ ...fixture.blocks.blocks[0], width: '64' }] }],
    ['a width that is not finite', { ...fixture.progress, done: NaN }],
    ['a fact that is a mapping', { ...fixture.state, results: [{ ...fixture.state.results[0], report: {} }] }]
  ])('refuses %s', (_, value) => {
    expect(readMessage(value)).toBeNull();
  });
});
