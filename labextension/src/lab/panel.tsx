/** The side panel: the shared view in a Lumino widget that listens only while it can be seen. */

import { ReactWidget } from '@jupyterlab/ui-components';
import { Message } from '@lumino/messaging';
import * as React from 'react';
import { PANEL } from '../tokens';
import { App } from '../view/App';
import { LabHost } from './host';
import { compressIcon } from './icons';
import { ActiveSession } from './session';

export class CompressPanel extends ReactWidget {
  constructor(session: ActiveSession, host: LabHost) {
    super();
    this._session = session;
    this._host = host;
    this.id = PANEL;
    this.title.icon = compressIcon;
    this.title.caption = host.trans.__('Compress: models of the active notebook');
    this.addClass('jlc-Panel');
    this.node.tabIndex = -1;
  }

  protected override render(): JSX.Element {
    return <App host={this._host} />;
  }

  protected override onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this._session.visible = true;
  }

  protected override onAfterAttach(message: Message): void {
    super.onAfterAttach(message);
    this._session.visible = this.isVisible;
  }

  protected override onAfterHide(message: Message): void {
    super.onAfterHide(message);
    this._session.visible = false;
  }

  protected override onActivateRequest(): void {
    const first = this.node.querySelector<HTMLElement>('select, input, button, [tabindex="0"]');
    (first ?? this.node).focus();
  }

  private readonly _session: ActiveSession;
  private readonly _host: LabHost;
}
