# exec: a shell ends on SIGTERM at once, and then SLURM kills what it had started.
rule train_pack:
    input:
        ancient(lambda wildcards: [paths.receipt(pack) for pack in outline.before.get(wildcards.pack, ())]),
        ancient(lambda wildcards: [paths.data.prepared(name) for name in outline.data.get(wildcards.pack, ())]),
    output:
        paths.receipt("{pack}"),
    log:
        paths.log("train_pack", "{pack}"),
    benchmark:
        paths.benchmark("train_pack", "{pack}")
    conda:
        "../envs/stepscape.yaml"
    threads: 1
    resources:
        device=settings.device,
        data_root=settings.data_root,
    params:
        results=lambda wildcards: settings.results,
    message:
        "Training pack {wildcards.pack}"
    shell:
        "exec stepscape train-pack {wildcards.pack} --results {params.results:q} --data-root {resources.data_root:q}"
        " --device {resources.device} > {log:q} 2>&1"
