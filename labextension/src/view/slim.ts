/** Which live slim model belongs to the one that is looked at. */

import { names } from '../code';
import { IModel } from '../messages';

export function slimOf(slims: IModel[], model: IModel, chosen: string): string {
  const own = names(model.name).slim;
  const known = slims.map(({ name }) => name);
  if (known.includes(chosen)) {
    return chosen;
  }
  if (model.slim !== null) {
    return model.name;
  }
  return known.includes(own) ? own : (known[known.length - 1] ?? '');
}
