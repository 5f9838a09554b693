/** Look up what a notebook's name stands for; `constructor` and the like find nothing of JavaScript's own. */
export function own<T>(record: { readonly [name: string]: T } | undefined, name: string): T | undefined {
  return record !== undefined && Object.hasOwn(record, name) ? record[name] : undefined;
}
