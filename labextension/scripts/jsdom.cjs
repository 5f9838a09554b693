/** What browsers have and jsdom lacks; JupyterLab and Lumino name these when they are loaded. */

const { TextDecoder, TextEncoder } = require('node:util');

class Observer {
  observe() {}
  unobserve() {}
  disconnect() {}
}

Object.assign(globalThis, {
  TextDecoder,
  TextEncoder,
  DragEvent: globalThis.Event,
  IntersectionObserver: Observer,
  ResizeObserver: Observer,
  matchMedia: () => ({ matches: false, addEventListener() {}, addListener() {} })
});
Object.defineProperty(globalThis.navigator, 'clipboard', {
  configurable: true,
  value: { writeText: async () => undefined }
});
