"""Which way do models move in function space? One principal component analysis (PCA) of many runs together.

A row is what one checkpoint predicts on a fixed batch of prompts. All runs are centred and decomposed together, so that
their curves can be laid over one another; reference predictors are projected and never fitted. Random walks too draw
smooth curves on their first components (Lissajous figures), so a null stands beside each result.
"""

from probes.trajectory.joint_pca import JointTrajectoryPCA, joint_trajectory_pca, log_step_weights

__all__ = ["JointTrajectoryPCA", "joint_trajectory_pca", "log_step_weights"]
