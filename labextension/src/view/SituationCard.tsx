/** One sentence for each situation, and the next step. */

import * as React from 'react';
import { Action, IHostState, ITrans } from '../host';
import { usePanel } from './context';
import { CopyButton } from './fields';
import { shown } from './format';

interface ICard {
  sentence: string;
  next?: string;
  code?: string;
  action?: [Action, string];
  waiting?: boolean;
}

export function SituationCard(): JSX.Element {
  const { host, hostState, trans } = usePanel();
  const { sentence, next, code, action, waiting } = cardOf(hostState, trans);
  return (
    <div className="jlc-Situation" role="status">
      {waiting && <span className="jlc-Spinner" aria-hidden="true" />}
      <div>
        <p className="jlc-Situation-sentence">{sentence}</p>
        {next !== undefined && <p className="jlc-quiet">{next}</p>}
        {code !== undefined && (
          <div className="jlc-Copyable">
            <code>{code}</code>
            <CopyButton text={code} />
          </div>
        )}
        {action !== undefined && (
          <button type="button" className="jlc-Button" onClick={() => host.act(action[0])}>
            {action[1]}
          </button>
        )}
      </div>
    </div>
  );
}

export function cardOf({ situation, state }: IHostState, trans: ITrans): ICard {
  const again: ICard['action'] = ['connect', trans.__('Try again')];
  const choose: ICard['action'] = ['choose-kernel', trans.__('Choose a kernel')];
  switch (situation.kind) {
    case 'no-notebook':
      return told(
        trans.__('No notebook is open.'),
        trans.__('The torch models of the notebook that you work in appear here.'),
        ['open-notebook', trans.__('New notebook')]
      );
    case 'no-kernel':
      return told(
        trans.__('This notebook has no kernel.'),
        trans.__('Models live in a kernel; choose one to see them.'),
        choose
      );
    case 'other-language':
      return told(
        trans.__('This kernel speaks %1.', shown(situation.language, 40)),
        trans.__('Torch models are read from Python kernels only.'),
        choose
      );
    case 'starting':
      return waiting(trans.__('The kernel is starting.'));
    case 'busy':
      return waiting(
        trans.__('The kernel is running a cell.'),
        trans.__('The list refreshes when it is idle.')
      );
    case 'restarting':
      return waiting(
        trans.__('The kernel is restarting.'),
        trans.__('Its models are gone; run the cells that make them again.')
      );
    case 'offline':
      return waiting(
        trans.__('The connection to the kernel is lost.'),
        trans.__('The list refreshes as soon as it is back.')
      );
    case 'dead':
      return told(trans.__('The kernel has died.'), trans.__('What it held is lost; the notebook is not.'), [
        'restart-kernel',
        trans.__('Restart the kernel')
      ]);
    case 'missing':
      return {
        sentence: trans.__('The package jlab-compress is missing in this kernel.'),
        next: trans.__('Run this line in a cell, then try again:'),
        code: '%pip install jlab-compress',
        action: again
      };
    case 'outdated':
      return {
        sentence: trans.__('The package in this kernel does not fit this panel.'),
        next: trans.__('Run this line in a cell, restart the kernel and try again:'),
        code: '%pip install --upgrade jlab-compress',
        action: again
      };
    case 'fault':
      return told(
        trans.__('The kernel could not list its models.'),
        shown(situation.message, 300) || trans.__('It did not answer.'),
        again
      );
    case 'scan-off':
      return told(trans.__('Listing live models is switched off in the settings.'), undefined, [
        'switch-scan-on',
        trans.__('Switch it on')
      ]);
    case 'ready':
      return state !== null && !state.torch
        ? told(
            trans.__('torch is not imported in this kernel yet.'),
            trans.__('Run a cell that makes a model; it appears here at once.')
          )
        : told(
            trans.__('No torch model is alive in this kernel.'),
            trans.__('Run a cell that gives a torch.nn.Module a name; it appears here at once.')
          );
  }
}

function told(sentence: string, next?: string, action?: ICard['action']): ICard {
  return { sentence, next, action };
}

function waiting(sentence: string, next?: string): ICard {
  return { sentence, next, waiting: true };
}
