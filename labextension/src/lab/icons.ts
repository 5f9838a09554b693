/** A wide layer of neurons that becomes a narrow one. */

import { LabIcon } from '@jupyterlab/ui-components';

const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="16" height="16" viewBox="0 0 24 24">
  <g class="jp-icon3 jp-icon-selectable" fill="#616161">
    <circle cx="5" cy="3.5" r="2"/><circle cx="5" cy="9.2" r="2"/>
    <circle cx="5" cy="14.8" r="2"/><circle cx="5" cy="20.5" r="2"/>
    <circle cx="19" cy="9" r="3"/><circle cx="19" cy="16.5" r="2.4"/>
    <path d="M7.5 3.5 15 8l-.7 1.2L7 4.8zM7.5 8.6 14.6 9v1.2L7.5 9.9zM7.5 14.3l7.4-3 .5 1.2-7.5 3zM7.6 20l7.6-4.2.6 1.2-7.6 4.2z"/>
  </g>
</svg>`;

export const compressIcon = new LabIcon({ name: 'jlab-compress:icon', svgstr: svg });
