import { IRenderMime, IRenderMimeRegistry } from '@jupyterlab/rendermime';
import { Widget } from '@lumino/widgets';
import { OUTPUT, showOutputs } from '../../lab/savedPanel';

const VIEW = 'application/vnd.jupyter.widget-view+json';

beforeEach(() => jest.useFakeTimers());
afterEach(() => jest.useRealTimers());

class Rendered extends Widget {
  readonly rendered: IRenderMime.IMimeModel[] = [];

  async renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    this.rendered.push(model);
  }
}

/** A registry with the factories for these types; what it made is in `made`. */
function registryOf(...types: string[]): {
  made: { [type: string]: Rendered };
  factories: IRenderMime.IRendererFactory[];
  like: IRenderMimeRegistry;
} {
  const made: { [type: string]: Rendered } = {};
  const factories: IRenderMime.IRendererFactory[] = [];
  const like = {
    addFactory: (factory: IRenderMime.IRendererFactory) => factories.push(factory),
    getFactory: (type: string) => (types.includes(type) ? {} : undefined),
    createRenderer: (type: string) => (made[type] = new Rendered())
  };
  return { made, factories, like: like as unknown as IRenderMimeRegistry };
}

const bundle = (...types: string[]): IRenderMime.IMimeModel =>
  ({ data: Object.fromEntries(types.map(type => [type, {}])) }) as unknown as IRenderMime.IMimeModel;

/** The output of a panel in a notebook whose renderers are those of `registry`. */
function outputIn(registry: ReturnType<typeof registryOf>): IRenderMime.IRenderer {
  const own = registryOf();
  const notebook = { content: { rendermime: Object.assign(registry.like, { resolver: 'here' }) } };
  const tracker = { find: (test: (panel: unknown) => boolean) => (test(notebook) ? notebook : undefined) };
  showOutputs(own.like, tracker as unknown as Parameters<typeof showOutputs>[1]);
  const [factory] = own.factories;
  expect(factory).toMatchObject({ safe: true, mimeTypes: [OUTPUT] });
  return factory.createRenderer({ resolver: 'here' } as unknown as IRenderMime.IRendererOptions);
}

it('without widgets the saved table and picture are shown', async () => {
  const registry = registryOf();
  const output = outputIn(registry);
  const model = bundle(OUTPUT, 'text/html', VIEW);
  await output.renderModel(model);
  expect(Object.keys(registry.made)).toEqual(['text/html']);
  expect(registry.made['text/html'].rendered).toEqual([model]);
  expect(registry.made['text/html'].isHidden).toBe(false);
});

it('a widget that does not come to life gives way to what was saved, after a moment', async () => {
  const registry = registryOf(VIEW);
  await outputIn(registry).renderModel(bundle(OUTPUT, 'text/html', VIEW));
  const [still, live] = [registry.made['text/html'], registry.made[VIEW]];
  expect(still.isHidden).toBe(true);
  jest.advanceTimersByTime(1000);
  expect([still.isHidden, live.isHidden]).toEqual([false, true]);
});

it('a widget that lives is shown instead, also one that comes late', async () => {
  const registry = registryOf(VIEW);
  await outputIn(registry).renderModel(bundle(OUTPUT, 'text/html', VIEW));
  const [still, live] = [registry.made['text/html'], registry.made[VIEW]];
  jest.advanceTimersByTime(1000);
  live.node.appendChild(document.createElement('div')).className = 'jlc-Widget';
  await Promise.resolve();
  expect([still.isHidden, live.isHidden]).toEqual([true, false]);
});

it('an output that is rendered again holds the new parts only', async () => {
  const registry = registryOf();
  const output = outputIn(registry);
  await output.renderModel(bundle(OUTPUT, 'text/html'));
  const first = registry.made['text/html'];
  await output.renderModel(bundle(OUTPUT, 'text/html'));
  expect(first.isDisposed).toBe(true);
  expect((output as unknown as { widgets: Widget[] }).widgets).toEqual([registry.made['text/html']]);
});
