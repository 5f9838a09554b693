/** One sentence for each situation, and the next step. */

import * as React from 'react';
import { Action, IHostState, ITrans } from '../host';
import { usePanel } from './context';
import { shown } from './words';

interface ICard {
  sentence: string;
  next?: string;
  code?: string;
  action?: [Action, string];
  waiting?: boolean;
}

export function SituationCard(): JSX.Element {
  const { host, hostState, trans, announce } = usePanel();
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
            <button
              type="button"
              className="jlc-Button"
              onClick={() => {
                host.copy(code);
                announce(trans.__('Copied.'));
              }}
            >
              {trans.__('Copy')}
            </button>
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

export function cardOf(hostState: IHostState, trans: ITrans): ICard {
  const { situation, state } = hostState;
  switch (situation.kind) {
    case 'no-notebook':
      return {
        sentence: trans.__('No notebook is open.'),
        next: trans.__('The torch models of the notebook that you work in appear here.'),
        action: ['open-notebook', trans.__('New notebook')]
      };
    case 'no-kernel':
      return {
        sentence: trans.__('This notebook has no kernel.'),
        next: trans.__('Models live in a kernel; choose one to see them.'),
        action: ['choose-kernel', trans.__('Choose a kernel')]
      };
    case 'other-language':
      return {
        sentence: trans.__('This kernel speaks %1.', shown(situation.language, 40)),
        next: trans.__('Torch models are read from Python kernels only.'),
        action: ['choose-kernel', trans.__('Choose a kernel')]
      };
    case 'starting':
      return { sentence: trans.__('The kernel is starting.'), waiting: true };
    case 'busy':
      return {
        sentence: trans.__('The kernel is running a cell.'),
        next: trans.__('The list refreshes when it is idle.'),
        waiting: true
      };
    case 'restarting':
      return {
        sentence: trans.__('The kernel is restarting.'),
        next: trans.__('Its models are gone; run the cells that make them again.'),
        waiting: true
      };
    case 'dead':
      return {
        sentence: trans.__('The kernel has died.'),
        next: trans.__('What it held is lost; the notebook is not.'),
        action: ['restart-kernel', trans.__('Restart the kernel')]
      };
    case 'offline':
      return {
        sentence: trans.__('The connection to the kernel is lost.'),
        next: trans.__('The list refreshes as soon as it is back.'),
        waiting: true
      };
    case 'missing':
      return {
        sentence: trans.__('The package jlab-compress is missing in this kernel.'),
        next: trans.__('Run this line in a cell, then try again:'),
        code: '%pip install jlab-compress',
        action: ['connect', trans.__('Try again')]
      };
    case 'outdated':
      return {
        sentence: trans.__('The package in this kernel does not fit this panel.'),
        next: trans.__('Run this line in a cell, restart the kernel and try again:'),
        code: '%pip install --upgrade jlab-compress',
        action: ['connect', trans.__('Try again')]
      };
    case 'fault':
      return {
        sentence: trans.__('The kernel could not list its models.'),
        next: shown(situation.message, 300),
        action: ['connect', trans.__('Try again')]
      };
    case 'scan-off':
      return {
        sentence: trans.__('Listing live models is switched off in the settings.'),
        action: ['switch-scan-on', trans.__('Switch it on')]
      };
    case 'ready':
      return state !== null && !state.torch
        ? {
            sentence: trans.__('torch is not imported in this kernel yet.'),
            next: trans.__('Run a cell that makes a model; it appears here at once.')
          }
        : {
            sentence: trans.__('No torch model is alive in this kernel.'),
            next: trans.__('Run a cell that gives a torch.nn.Module a name; it appears here at once.')
          };
  }
}
