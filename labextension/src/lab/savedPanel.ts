/**
 * The output of an in-cell panel: the widget where its kernel lives, else the table and picture that were
 * saved with it. Without this a notebook that is opened again shows the widget manager's error only.
 */

import { INotebookTracker } from '@jupyterlab/notebook';
import { IRenderMime, IRenderMimeRegistry } from '@jupyterlab/rendermime';
import { Message } from '@lumino/messaging';
import { Panel, Widget } from '@lumino/widgets';

export const OUTPUT = 'application/vnd.jlab-compress.panel+json';
const WIDGET = 'application/vnd.jupyter.widget-view+json';
const STILL = 'text/html';
const PATIENCE_MS = 500;

/** Show outputs of the panel in every notebook, trusted or not; ranked before the widget alone. */
export function showOutputs(registry: IRenderMimeRegistry, tracker: INotebookTracker): void {
  registry.addFactory(
    {
      safe: true,
      mimeTypes: [OUTPUT],
      createRenderer: ({ resolver }) =>
        new PanelOutput(
          () =>
            tracker.find(panel => panel.content.rendermime.resolver === resolver)?.content.rendermime ??
            registry
        )
    },
    -20
  );
}

class PanelOutput extends Panel implements IRenderMime.IRenderer {
  constructor(registry: () => IRenderMimeRegistry) {
    super();
    this._registry = registry;
    this.addClass('jlc-Output');
  }

  async renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    const registry = this._registry();
    const { data } = model;
    const still = registry.createRenderer(STILL);
    const live = data[WIDGET] && registry.getFactory(WIDGET) ? registry.createRenderer(WIDGET) : null;
    this._swap(still, live);
    await still.renderModel(model);
    await live?.renderModel(model);
  }

  protected override onBeforeDetach(message: Message): void {
    this._observer?.disconnect();
    super.onBeforeDetach(message);
  }

  /** The still comes into sight after a moment without a widget, and goes when one comes. */
  private _swap(still: Widget, live: Widget | null): void {
    this._observer?.disconnect();
    this.widgets.slice().forEach(widget => widget.dispose());
    this.addWidget(still);
    if (live === null) {
      return;
    }
    this.addWidget(live);
    const alive = (): boolean => live.node.querySelector('.jlc-Widget') !== null;
    const look = (): void => {
      still.setHidden(alive());
      live.setHidden(!alive());
    };
    still.hide();
    setTimeout(look, PATIENCE_MS);
    this._observer = new MutationObserver(() => alive() && look());
    this._observer.observe(live.node, { childList: true, subtree: true, attributes: true });
  }

  private readonly _registry: () => IRenderMimeRegistry;
  private _observer: MutationObserver | null = null;
}
