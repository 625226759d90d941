rule draw_figure:
    input:
        paths.dataset_marker("{study}"),
    output:
        svg=report(
            paths.figure("{study}", "{figure}", "svg"),
            caption="../workflow/report/figure.rst",
            category="Figures",
            labels={"study": "{study}", "figure": "{figure}"},
        ),
        png=paths.figure("{study}", "{figure}", "png"),
    log:
        paths.log("draw_figure", "{study}.{figure}"),
    benchmark:
        paths.benchmark("draw_figure", "{study}.{figure}")
    conda:
        "../envs/stepscape.yaml"
    threads: 1
    params:
        results=lambda wildcards: settings.results,
        path=lambda wildcards: outline.studies[wildcards.study].path,
        fingerprint=lambda wildcards: outline.studies[wildcards.study].fingerprints[f"figure {wildcards.figure}"],
    message:
        "Drawing {wildcards.figure} of {wildcards.study}"
    shell:
        "stepscape draw {params.path:q} {wildcards.figure} --results {params.results:q} > {log:q} 2>&1"
