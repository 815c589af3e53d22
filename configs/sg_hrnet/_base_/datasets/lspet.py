custom_imports = dict(imports=["sgpose"], allow_failed_imports=False)

lspet_train = dict(
    type="LspetDataset",
    data_root="data/lspet/",
    data_mode="topdown",
    ann_file="annotations/lspet_train.json",
    data_prefix=dict(img="images/"),
)
lspet_val = dict(
    lspet_train,
    ann_file="annotations/lspet_val.json",
    test_mode=True,
)
