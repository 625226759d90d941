rule prepare_data:
    output:
        paths.data.prepared("{dataset}"),
    log:
        paths.log("prepare_data", "{dataset}"),
    benchmark:
        paths.benchmark("prepare_data", "{dataset}")
    localrule: True
    conda:
        "../envs/stepscape.yaml"
    threads: 1
    resources:
        data_root=settings.data_root,
    message:
        "Preparing {wildcards.dataset}"
    shell:
        "stepscape prepare-data {wildcards.dataset} --data-root {resources.data_root:q} > {log:q} 2>&1"
