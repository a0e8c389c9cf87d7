import { LabIcon } from '@jupyterlab/ui-components';

import anaconda from '../style/icons/anaconda.svg';
import cuda from '../style/icons/cuda.svg';
import environment from '../style/icons/environment.svg';
import badge from '../style/icons/gpu-badge.svg';
import host from '../style/icons/host.svg';
import jax from '../style/icons/jax.svg';
import ml from '../style/icons/ml.svg';
import python from '../style/icons/python.svg';
import pytorch from '../style/icons/pytorch.svg';
import scipy from '../style/icons/scipy.svg';
import tensorboard from '../style/icons/tensorboard.svg';
import tensorflow from '../style/icons/tensorflow.svg';

/** The names a preset's `icon` may have; other names get the box. */
const DRAWINGS: Record<string, string> = {
  anaconda,
  cuda,
  environment,
  gpu: cuda,
  host,
  jax,
  jupyter: scipy,
  ml,
  python,
  pytorch,
  scipy,
  tensorboard,
  tensorflow
};

const icons = new Map<string, LabIcon>();

/** The icon of a preset or endpoint; with `gpu`, marked by a badge. */
export function iconFor(name: string, gpu = false): LabIcon {
  const known = Object.hasOwn(DRAWINGS, name) ? name : 'environment';
  const key = `jupyter-mlenv:${known}${gpu ? '-gpu' : ''}`;
  let icon = icons.get(key);
  if (!icon) {
    const drawing = DRAWINGS[known];
    icon = new LabIcon({
      name: key,
      svgstr: gpu ? drawing.replace('</svg>', `${badge}</svg>`) : drawing
    });
    icons.set(key, icon);
  }
  return icon;
}

export const environmentIcon = iconFor('environment');
