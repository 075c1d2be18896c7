//! The image index: reading images where builds left them, and pushing one index that names them all.
