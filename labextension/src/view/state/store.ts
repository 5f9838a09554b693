/** A value that is replaced, never edited, and tells those who look at it. */

export class Store<T> {
  constructor(value: T) {
    this._value = value;
  }

  readonly getState = (): T => this._value;

  readonly subscribe = (listener: () => void): (() => void) => {
    this._listeners.add(listener);
    return () => this._listeners.delete(listener);
  };

  set(value: T): void {
    if (value !== this._value) {
      this._value = value;
      this._listeners.forEach(listener => listener());
    }
  }

  private readonly _listeners = new Set<() => void>();
  private _value: T;
}
