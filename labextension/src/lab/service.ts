/** The side panel as other extensions see it. */

import { CommandRegistry } from '@lumino/commands';
import { ISignal, Signal } from '@lumino/signaling';
import { IModel, IResult } from '../kernel/messages';
import { COMMANDS, ICompressPanel } from '../tokens';
import { LabHost } from './host';

export class PanelService implements ICompressPanel {
  constructor(host: LabHost, commands: CommandRegistry) {
    this._host = host;
    this._commands = commands;
    host.subscribe(() => this._changed.emit());
  }

  async open(): Promise<void> {
    await this._commands.execute(COMMANDS.open);
  }

  get model(): IModel | null {
    const models = this._host.getState().state?.models ?? [];
    return models.find(({ name }) => name === this._host.model) ?? null;
  }

  get results(): IResult[] {
    return this._host.getState().state?.results ?? [];
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  private readonly _host: LabHost;
  private readonly _commands: CommandRegistry;
  private readonly _changed = new Signal<this, void>(this);
}
